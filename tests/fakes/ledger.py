"""A ledger that answers as a test scripted it, and keeps what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.billing.reservation import Balance, Grant, OverLimit, Reservation
from gateway.billing.window import Window

from .clock import HandClock

Answer = Grant | OverLimit | BaseException


class ScriptedLedger:
    """Implements `gateway.billing.store.BudgetStore`.

    Attributes:
        answers: what the next reservations get; an exception is raised; behind them each is granted in full.
        fails: what the next settlements and renewals raise; behind them they succeed.
        reserve_s: seconds by which a reservation turns the clock.
        gate: settlements wait until it is set.
        reserved, settled, renewed: what was asked; a settlement is (id, charge, tokens), a renewal (time, ids, lease).
    """

    def __init__(self, clock: HandClock, answers: Sequence[Answer] = ()) -> None:
        self._clock = clock
        self.answers = list(answers)
        self.fails: list[Exception] = []
        self.reserve_s = 0.0
        self.gate = asyncio.Event()
        self.gate.set()
        self.reserved: list[Reservation] = []
        self.settled: list[tuple[str, int, int]] = []
        self.renewed: list[tuple[float, list[str], float]] = []

    async def reserve(self, reservation: Reservation) -> Grant | OverLimit:
        self.reserved.append(reservation)
        self._clock.turn(self.reserve_s)
        answer = self.answers.pop(0) if self.answers else Grant(reservation.max_cost, None)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def settle(self, hold_id: str, charge: int, tokens: int = 0) -> bool:
        await self.gate.wait()
        self._fail()
        self.settled.append((hold_id, charge, tokens))
        return True

    async def renew(self, hold_ids: Sequence[str], ttl_s: float) -> None:
        self.renewed.append((self._clock.now, sorted(hold_ids), ttl_s))
        self._fail()

    async def balances(self, windows: Sequence[Window]) -> list[Balance]:
        return [Balance(window, 0, 0) for window in windows]

    def _fail(self) -> None:
        if self.fails:
            raise self.fails.pop(0)
