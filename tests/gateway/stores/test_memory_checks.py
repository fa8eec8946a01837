"""The store in memory obeys the laws of every budget store, whatever its history."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings

from gateway.stores.memory import Memory, MemoryStore
from tests.checks.ledger_checks import LedgerMachine
from tests.checks.store_checks import STORE_CHECKS, Check, Clock


class MemoryPlace:
    """One memory, which the stores share."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.clock = Clock()

    async def open(self) -> MemoryStore:
        return MemoryStore(self.clock, self.memory)


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_memory_store_obeys(check: Check) -> None:
    asyncio.run(check(MemoryPlace()))


class LedgerInMemory(LedgerMachine):
    def make_place(self) -> MemoryPlace:
        return MemoryPlace()


TestMemoryLedger = LedgerInMemory.TestCase
TestMemoryLedger.settings = settings(max_examples=100, stateful_step_count=40)
