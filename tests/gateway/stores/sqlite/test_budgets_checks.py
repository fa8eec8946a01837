"""The embedded store obeys the laws of every budget store, whatever its history."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.stores.sqlite.budgets import SqliteStore
from tests.checks.ledger_checks import HISTORIES, LedgerMachine, play
from tests.checks.store_checks import STORE_CHECKS, Check, Clock


class MortalStore(SqliteStore):
    def die(self) -> None:
        """As a process that is killed: what was not committed is lost, and nothing is done any more."""
        assert self._tidying is not None
        self._tidying.cancel()
        self._db.close()


class SqlitePlace:
    """One file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()

    async def open(self) -> MortalStore:
        store = MortalStore(self.path, self.clock, monotonic=self.clock.steady)
        await store.open()
        return store

    async def kill(self, store: MortalStore) -> None:
        store.die()


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_sqlite_store_obeys(check: Check, tmp_path: Path) -> None:
    asyncio.run(check(SqlitePlace(tmp_path / "loupe.sqlite")))


@pytest.mark.parametrize("histories", HISTORIES)
def test_any_history_in_sqlite_is_that_of_the_reference(
    histories: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    place = SqlitePlace(tmp_path / "loupe.sqlite")

    class LedgerInSqlite(LedgerMachine):
        def place_for_it(self) -> SqlitePlace:
            return place

    with closing(sqlite3.connect(place.path)) as another:  # while it is there nobody is the last to close the file,
        another.execute("PRAGMA journal_mode = WAL")  # who would write all of the log back: a fifth of the time
        record_property("histories", f"{play(LedgerInSqlite, histories)} in sqlite")
