"""The embedded store obeys the laws of every budget store, whatever its history."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from gateway.stores.sqlite import SqliteStore
from tests.checks.ledger_checks import LedgerMachine
from tests.checks.store_checks import STORE_CHECKS, Check, Clock


class SqlitePlace:
    """One file. A store that is opened and never closed stands for a process that died."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()

    async def open(self) -> SqliteStore:
        store = SqliteStore(self.path, self.clock)
        await store.open()
        return store


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_sqlite_store_obeys(check: Check, tmp_path: Path) -> None:
    asyncio.run(check(SqlitePlace(tmp_path / "loupe.sqlite")))


class SqliteLedgerMachine(LedgerMachine):
    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        super().__init__()

    def make_place(self) -> SqlitePlace:
        return SqlitePlace(Path(self.folder.name) / "loupe.sqlite")

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


TestSqliteLedger = SqliteLedgerMachine.TestCase
TestSqliteLedger.settings = settings(max_examples=25, stateful_step_count=40)
