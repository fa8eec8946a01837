"""A ledger that goes away and comes back, and processes that set a little of its budgets aside."""

from __future__ import annotations

from gateway.errors import StoreError
from gateway.stores.local_fallback import LocalAllowance, LocalFallbackStore
from gateway.stores.memory import Memory, MemoryStore
from tests.checks.store_checks import Clock, reservation

LEASE = 200


class Flighty(MemoryStore):
    """A ledger that can be away, or (`lends` is False) just when it is asked for a lease."""

    away = False
    lends = True

    def _ready(self, amount: int) -> None:
        self.answers_for(amount)
        super()._ready(amount)

    def answers_for(self, amount: int) -> None:
        if self.away or (amount == LEASE and not self.lends):
            raise StoreError("away")


class Place:
    def __init__(self) -> None:
        self.clock = Clock()
        self.memory = Memory()
        self.inner = Flighty(self.clock, self.memory)
        self.said: list[str] = []
        self.opened = 0

    async def open(self) -> LocalFallbackStore:
        self.opened += 1
        options = LocalAllowance(LEASE, f"process{self.opened}")
        return Whole(Closing(self.clock, self.memory, self.inner), self.clock, options, self.said.append)

    async def ready(self) -> LocalFallbackStore:
        """A store with a lease on the day's budget."""
        store = await self.open()
        await store.reserve(reservation("first", 300))
        await store.settle("first", 100)
        await store.tend()
        return store


class Whole(LocalFallbackStore):
    """Closes the ledger with itself."""

    async def close(self) -> None:
        await super().close()
        if isinstance(self._inner, MemoryStore):
            await self._inner.close()


class Closing(MemoryStore):
    """The same ledger, for one store that closes it."""

    def __init__(self, clock: Clock, memory: Memory, inner: Flighty) -> None:
        super().__init__(clock, memory)
        self._inner = inner

    def _ready(self, amount: int) -> None:
        self._inner.answers_for(amount)
        super()._ready(amount)
