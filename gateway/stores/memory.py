"""A ledger in this process's memory, for tests. It is lost when the process ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gateway.billing.reservation import Balance, Grant, OverLimit, Reservation, counters, grant, share
from gateway.billing.window import Window
from gateway.errors import StoreError

LARGEST_AMOUNT = 10**18


@dataclass(slots=True)
class _MemoryReservation:
    reservation: Reservation
    amount: int
    expires_at: float
    state: Literal["held", "expired", "settled"] = "held"


@dataclass(slots=True)
class Memory:
    """The data that several stores may share: windows by key as [spent, held], and reservations by id."""

    windows: dict[str, list[int]] = field(default_factory=dict)
    holds: dict[str, _MemoryReservation] = field(default_factory=dict)


class MemoryStore:
    """Implements `BudgetStore`. `clock` gives seconds since the epoch. No method waits, so each is atomic."""

    def __init__(self, clock: Callable[[], float], memory: Memory | None = None) -> None:
        self._clock = clock
        self._memory = memory or Memory()
        self._closed = False

    async def open(self) -> None:
        """Do nothing: there is nothing to open."""

    async def close(self) -> None:
        self._closed = True

    async def reserve(self, reservation: Reservation) -> Grant | OverLimit:
        self._ready(reservation.max_cost)
        standing = self._memory.holds.get(reservation.id)
        if standing is not None:
            return Grant(standing.amount, None)
        answer = grant(reservation, [self._stands(window) for window in reservation.windows])
        if isinstance(answer, Grant):
            self._memory.holds[reservation.id] = _MemoryReservation(
                reservation, answer.amount, self._clock() + reservation.ttl_s
            )
            for window in counters(reservation.windows):
                self._part(window.key)[1] += share(window.unit, answer.amount, reservation.tokens, reservation.requests)
        return answer

    async def settle(self, hold_id: str, charge: int, tokens: int = 0) -> bool:
        self._ready(charge)
        return self._settle(hold_id, charge, tokens)

    async def renew(self, hold_ids: Sequence[str], ttl_s: float) -> None:
        self._ready(0)
        for hold_id in hold_ids:
            standing = self._memory.holds.get(hold_id)
            if standing is not None:
                standing.expires_at = max(standing.expires_at, self._clock() + ttl_s)

    async def balances(self, windows: Sequence[Window]) -> list[Balance]:
        self._ready(0)
        return [Balance(window, *self._stands(window)) for window in windows]

    def _ready(self, amount: int) -> None:
        if self._closed:
            raise StoreError("the store is closed")
        if not 0 <= amount <= LARGEST_AMOUNT:
            raise StoreError(f"{amount} nanodollars is not an amount that can be stored")
        now = self._clock()
        due = [name for name, s in self._memory.holds.items() if s.state == "held" and s.expires_at <= now]
        for name in due:
            standing = self._memory.holds[name]
            self._settle(name, standing.amount, standing.reservation.tokens)
            standing.state = "expired"

    def _settle(self, hold_id: str, charge: int, tokens: int) -> bool:
        standing = self._memory.holds.get(hold_id)
        if standing is None or standing.state == "settled":
            return False
        reservation, freed = standing.reservation, 1 if standing.state == "held" else 0  # expired: the spent part
        standing.state = "settled"
        for window in counters(reservation.windows):
            part = self._part(window.key)
            part[0] += share(window.unit, charge, tokens, reservation.requests)
            part[freed] -= share(window.unit, standing.amount, reservation.tokens, reservation.requests)
        return True

    def _stands(self, window: Window) -> tuple[int, int]:
        parts = [self._part(key) for key in (window.key, *window.earlier)]
        return sum(part[0] for part in parts), sum(part[1] for part in parts)

    def _part(self, key: str) -> list[int]:
        return self._memory.windows.setdefault(key, [0, 0])
