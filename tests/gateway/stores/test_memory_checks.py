"""The store in memory obeys the laws of every budget store, whatever its history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gateway.stores.memory import Memory, MemoryStore
from tests.checks.ledger_checks import HISTORIES, LedgerMachine, play
from tests.checks.store_checks import STORE_CHECKS, Check, Clock


class MemoryPlace:
    """One memory, which the stores share."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.clock = Clock()

    async def open(self) -> MemoryStore:
        return MemoryStore(self.clock, self.memory)

    async def kill(self, store: MemoryStore) -> None:
        """Whatever it does it does at once."""


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_memory_store_obeys(check: Check) -> None:
    asyncio.run(check(MemoryPlace()))


class LedgerInMemory(LedgerMachine):
    def place_for_it(self) -> MemoryPlace:
        return MemoryPlace()


@pytest.mark.parametrize("histories", HISTORIES)
def test_any_history_in_memory_is_that_of_the_reference(
    histories: int, record_property: Callable[[str, object], None]
) -> None:
    record_property("histories", f"{play(LedgerInMemory, histories)} in memory")
