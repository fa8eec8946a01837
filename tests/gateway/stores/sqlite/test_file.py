"""Files that several processes open at once, as the workers of one gateway do when it starts."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.outcomes.log.schema import open_content, open_decisions
from gateway.stores.sqlite.file import is_busy, opened
from gateway.stores.sqlite.tables import SECONDARY, STORE
from tests.gateway.stores.sqlite.layouts import change, lay, rows_in

PROCESSES = 4
ROUNDS = 40
OPENER = """
import sys
from pathlib import Path
from gateway.outcomes.log.schema import open_decisions
from gateway.stores.sqlite.secondary import transaction
from gateway.stores.sqlite.tenants import SqliteTenants

for line in sys.stdin:
    folder = Path(line.strip())
    open_decisions(folder / "decisions.sqlite").close()
    with transaction(folder / "spend.sqlite") as db:
        db.execute("SELECT * FROM spend").fetchall()
    tenants = SqliteTenants(folder / "loupe.sqlite")
    tenants.open()
    tenants.close()
    print("opened", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_old", [False, True])
def test_processes_that_open_a_new_or_an_old_file_at_once_all_get_it(tmp_path: Path, is_old: bool) -> None:
    children = [
        subprocess.Popen([sys.executable, "-c", OPENER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    try:
        for number in range(ROUNDS):
            folder = tmp_path / str(number)
            folder.mkdir()
            if is_old:
                lay_old(folder)
            for child in children:
                assert child.stdin is not None
                child.stdin.write(f"{folder}\n")
                child.stdin.flush()
            for child in children:
                assert child.stdout is not None
                assert child.stdout.readline() == "opened\n", f"round {number}"
            if is_old:
                assert len(rows_in(folder / "decisions.sqlite")["decisions"]) == 5
                assert rows_in(folder / "loupe.sqlite")["windows"] == [("acme/total", 650, 300, None)]
    finally:
        for child in children:
            child.communicate(timeout=60)


def lay_old(folder: Path) -> None:
    """Files of before there were versions; the store's has the ledger's oldest tables, which lack columns."""
    lay("decisions", folder / "decisions.sqlite")
    lay("spend", folder / "spend.sqlite")
    ledger = str(STORE.steps[0]).split(";")[:2]
    change(folder / "loupe.sqlite", *ledger, "INSERT INTO windows(key, spent, held) VALUES('acme/total', 650, 300)")


@pytest.mark.parametrize("opener", [open_decisions, open_content])
def test_a_new_file_is_in_wal_mode(tmp_path: Path, opener: Callable[[Path], sqlite3.Connection]) -> None:
    with closing(opener(tmp_path / "new.sqlite")) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_that_stays_locked_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "locked.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        holder.execute("CREATE TABLE t(x)")
        with pytest.raises(sqlite3.OperationalError) as caught:
            opened(path, SECONDARY, 0.05)
    assert is_busy(caught.value)


def test_a_file_that_is_no_database_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "text.sqlite"
    path.write_text("no database, for certain\n" * 100, encoding="utf-8")
    with pytest.raises(sqlite3.DatabaseError) as caught:
        opened(path, SECONDARY, 60.0)
    assert not is_busy(caught.value)


def test_a_new_file_is_its_owners_alone_and_one_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    new, old = tmp_path / "new.sqlite", tmp_path / "old.sqlite"
    old.touch(mode=0o644)
    old.chmod(0o644)
    before = os.umask(0o022)
    try:
        for path in (new, old):
            db = opened(path, STORE)
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO windows(key) VALUES('a')")
            db.execute("COMMIT")
            beside = tmp_path.glob(f"{path.name}*")
            found = {each.name.removeprefix(path.name): each.stat().st_mode & 0o777 for each in beside}
            db.close()
            mode = 0o600 if path == new else 0o644
            assert found == {"": mode, "-wal": mode, "-shm": mode}
    finally:
        os.umask(before)
