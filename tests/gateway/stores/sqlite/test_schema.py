"""Files of earlier versions are migrated and lose nothing; those that cannot be used are refused in one line."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from gateway.outcomes.log.content import questions
from gateway.outcomes.log.schema import CONTENT, DECISIONS
from gateway.stores.sqlite.file import opened
from gateway.stores.sqlite.pacing import SqlitePacingStore
from gateway.stores.sqlite.schema import NewColumn, Schema, SchemaError, columns_of
from gateway.stores.sqlite.secondary import check_secondary
from gateway.stores.sqlite.tables import SECONDARY, STORE
from gateway.stores.sqlite.tenants import SqliteTenants
from tests.gateway.stores.sqlite.files import opened as opened_store
from tests.gateway.stores.sqlite.layouts import KINDS, change, lay, rows_in, version_of

SCHEMAS = {"store": STORE, "spend": SECONDARY, "decisions": DECISIONS, "content": CONTENT}
LACKING = {
    "store": ("api_keys", "last_used_at"),
    "spend": ("paces", "state"),
    "decisions": ("decisions", "finish_reason"),
    "content": ("replies", "text"),
}
"""A column of each kind of file that a test takes away."""
OLDEST_LEDGER = """
INSERT INTO windows VALUES('acme/total', 650, 300);
INSERT INTO holds VALUES('acme/req_1.0', 'acme/total', 300, NULL, 'held', 1000.0, 9000.0)
"""
"""Rows of the ledger before it knew tokens, requests and when a window may be forgotten."""
KILLED = """
import os, signal, sqlite3, sys
from gateway.stores.sqlite.schema import NewColumn, Schema, migrate

db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
steps = ("CREATE TABLE IF NOT EXISTS paces(owner TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID",
    NewColumn("paces", "half", "TEXT"), "DELETE FROM paces; SELECT die()", NewColumn("paces", "whole", "TEXT"))
migrate(db, Schema("test file", steps), sys.argv[1])
"""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "old.sqlite"


def refusal(path: Path, schema: Schema) -> str:
    """What is said of a file that is not taken: one line, and the file is as it was."""
    before = rows_in(path), version_of(path)
    with pytest.raises(SchemaError) as caught:
        opened(path, schema)
    assert (rows_in(path), version_of(path)) == before
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


def test_a_file_without_a_version_gets_the_newest_and_keeps_every_row(kind: str, path: Path) -> None:
    before = rows_in(lay(kind, path))
    assert version_of(path) == 0
    assert all(before.values()), "each table of the fixture has rows"
    opened(path, SCHEMAS[kind]).close()
    assert version_of(path) == SCHEMAS[kind].version >= 1
    assert rows_in(path) == before
    opened(path, SCHEMAS[kind]).close()
    assert rows_in(path) == before


def test_a_new_file_has_the_tables_that_a_migrated_one_has(kind: str, tmp_path: Path) -> None:
    old, new = lay(kind, tmp_path / "old.sqlite"), tmp_path / "new.sqlite"
    found = []
    for path in (old, new):
        with closing(opened(path, SCHEMAS[kind])) as db:
            indexes = db.execute("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' ORDER BY 1").fetchall()
            tables = {t: db.execute(f"PRAGMA table_info({t})").fetchall() for t in columns_of(SCHEMAS[kind])}
            found.append((indexes, tables, db.execute("PRAGMA user_version").fetchone()))
    assert found[0] == found[1]


def test_a_newer_file_is_refused_with_what_to_do(kind: str, path: Path) -> None:
    schema = SCHEMAS[kind]
    opened(lay(kind, path), schema).close()
    change(path, f"PRAGMA user_version = {schema.version + 1}")
    text = refusal(path, schema)
    assert f"version {schema.version + 1} of the {schema.kind}" in text
    assert f"this Loupe knows version {schema.version}:" in text
    assert "use the Loupe that wrote the file" in text


@pytest.mark.parametrize("has_version", [False, True])
def test_a_table_without_an_expected_column_is_refused(kind: str, path: Path, has_version: bool) -> None:
    table, column = LACKING[kind]
    lay(kind, path)
    if has_version:
        opened(path, SCHEMAS[kind]).close()
    change(path, f"ALTER TABLE {table} DROP COLUMN {column}")
    text = refusal(path, SCHEMAS[kind])
    assert f"table {table} lacks {column}" in text
    assert "put back a backup" in text


def test_a_file_that_lacks_an_indexed_column_is_refused_too(path: Path) -> None:
    lay("decisions", path)
    change(path, "DROP INDEX decisions_by_time", "ALTER TABLE decisions DROP COLUMN started_at")
    assert "cannot be migrated from version 0 to 1 of the decision log (no such column" in refusal(path, DECISIONS)


def test_a_file_of_another_kind_is_refused(path: Path) -> None:
    opened(lay("content", path), CONTENT).close()
    assert "table decisions is missing" in refusal(path, DECISIONS)


def test_an_unknown_column_is_refused_only_where_each_row_must_fill_it(path: Path) -> None:
    opened(lay("spend", path), SECONDARY).close()
    change(path, "ALTER TABLE paces ADD COLUMN note TEXT")
    opened(path, SECONDARY).close()
    change(path, "DROP TABLE paces", "CREATE TABLE paces(owner TEXT PRIMARY KEY, state TEXT, who TEXT NOT NULL)")
    assert "table paces wants values for unknown columns: who" in refusal(path, SECONDARY)


def test_a_killed_migration_leaves_the_file_as_it_was(path: Path) -> None:
    before = rows_in(lay("spend", path))
    killed = subprocess.run([sys.executable, "-c", KILLED, path], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert (rows_in(path), version_of(path)) == (before, 0)
    opened(path, SECONDARY).close()
    assert rows_in(path) == before


def test_a_step_that_fails_undoes_those_before_it(path: Path) -> None:
    lay("spend", path)
    text = refusal(path, Schema("test file", (NewColumn("paces", "half", "TEXT"), "SELECT no FROM nowhere")))
    assert "cannot be migrated from version 0 to 2 of the test file (no such table: nowhere)" in text


def test_only_the_steps_after_its_version_are_taken(path: Path) -> None:
    first = Schema("test file", ("CREATE TABLE t(a TEXT); INSERT INTO t(a) VALUES('kept')",))
    second = Schema("test file", (*first.steps, NewColumn("t", "b", "INTEGER NOT NULL DEFAULT 7")))
    opened(path, first).close()
    opened(path, second).close()
    assert rows_in(path) == {"t": [("kept", 7)]}
    assert "version 2 of the test file" in refusal(path, first)


def test_a_file_that_another_process_writes_is_waited_for(path: Path) -> None:
    lay("store", path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            opened(path, STORE, 0.05)
        other.execute("ROLLBACK")
    opened(path, STORE).close()


def test_the_ledger_goes_on_from_where_an_old_file_stands(path: Path) -> None:
    assert asyncio.run(settled(lay("store", path), "acme/req_held.0", 120, 20))
    found = dict(row[:2] for row in rows_in(path)["windows"])
    assert found == {
        "acme/total": 770,
        "acme/day/2023-11-14T00:00": 770,
        "acme/tokens/day/2023-11-14T00:00": 53,
        "acme/requests/month/2023-11-01T00:00": 1,
    }


def test_the_oldest_ledger_gets_the_columns_that_came_later(path: Path) -> None:
    change(path, *_statements(str(STORE.steps[0])), *_statements(OLDEST_LEDGER))
    assert asyncio.run(settled(path, "acme/req_1.0", 100, 0))
    found = rows_in(path)
    assert found["windows"] == [("acme/total", 750, 0, None)]
    assert found["holds"][0][-2:] == (0, 0)


def test_tenants_and_keys_of_an_old_file_are_there(path: Path) -> None:
    with closing(SqliteTenants(lay("store", path))) as store:
        store.open()
        registry, marks = store.load()
    assert (list(registry.tenants), list(registry.keys)) == (["acme", "beta"], ["key_1", "key_2", "key_3"])
    assert registry.keys["key_1"].last_used_at == 1_700_000_060
    assert (marks.version, marks.notice) == (1, "reload-1")


def test_paces_of_an_old_file_are_there(path: Path) -> None:
    paces = SqlitePacingStore(lay("spend", path))
    assert paces.read("acme") == '{"version": 1, "mu": 0.25}'
    paces.write({"acme": "new"})
    assert paces.read("acme") == "new"


def test_what_only_reads_refuses_a_newer_file_and_takes_an_older(path: Path) -> None:
    key = bytes.fromhex("7C381F5CA9863D21D2210AE0F3EAF2A1")
    assert questions(lay("content", path), [("acme", key)]) == {("acme", key): "how many?"}
    assert version_of(path) == 0
    change(path, "PRAGMA user_version = 99")
    with pytest.raises(SchemaError, match="version 99 of the kept content"):
        questions(path, [("acme", key)])


def test_the_secondary_file_is_only_refused_ahead_for_its_tables(tmp_path: Path) -> None:
    path = tmp_path / "spend.sqlite"
    check_secondary(path)
    assert not path.exists()
    path.write_bytes(b"no database at all" * 100)
    check_secondary(path)
    change(lay("spend", tmp_path / "old.sqlite"), "PRAGMA user_version = 99")
    with pytest.raises(SchemaError):
        check_secondary(tmp_path / "old.sqlite")


async def settled(path: Path, hold_id: str, charge: int, tokens: int) -> bool:
    """Whether a hold in this file was settled."""
    store = await opened_store(path)
    try:
        return await store.settle(hold_id, charge, tokens)
    finally:
        await store.close()


def _statements(text: str) -> list[str]:
    return [statement for statement in text.split(";") if statement.strip()]
