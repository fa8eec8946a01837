"""Any history of two processes whose ledger goes and comes back: the budget is kept, and every charge arrives."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.billing.reservation import Grant, Reservation
from gateway.billing.window import Window
from gateway.errors import StoreError
from gateway.stores.local_fallback import LEASE_S, LocalFallbackStore
from tests.checks.ledger_checks import HISTORIES, play

from .flighty import Place

LIMIT = 1_000
WINDOW = Window("acme/total", LIMIT, 0.0, None)
HOLD_LEASE_S = 60.0
PROCESS = st.integers(0, 1)


class LeasedMachine(RuleBasedStateMachine):
    runner: ClassVar[asyncio.Runner]
    played: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.place = Place()
        self.processes = [self.run(self.place.open()) for _ in range(2)]
        self.granted: dict[str, tuple[LocalFallbackStore, int]] = {}
        self.charged: dict[str, int] = {}
        """What settlements were acknowledged for; an unknown one is charged its hold in the end."""
        self.names = itertools.count()
        self.died = False

    def run(self, asked: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(asked)

    def teardown(self) -> None:
        self.place.inner.away = False
        for process in self.processes:
            self.run(process.close())
        self.place.clock.now += LEASE_S + 1
        [balance] = self.run(self.place.inner.balances((WINDOW,)))
        assert balance.held == 0
        expected = sum(self.charged.get(name, amount) for name, (_, amount) in self.granted.items())
        assert balance.spent <= LIMIT
        if self.died:  # what its lease was not spent for is charged, too
            assert balance.spent >= sum(self.charged.values())
        else:
            assert balance.spent == expected
        type(self).played += 1

    @initialize()
    def budget_is_known_to_both(self) -> None:
        for process in self.processes:
            self.ask(process, 1, 1)
            self.run(process.tend())

    @rule(process=PROCESS, max_cost=st.integers(0, 300), min_budget=st.integers(0, 300))
    def reserve(self, process: int, max_cost: int, min_budget: int) -> None:
        self.ask(self.processes[process], max_cost, min(min_budget, max_cost))

    @precondition(lambda self: self.granted)
    @rule(pick=st.integers(0, 99), thousandths=st.integers(0, 1_000), times=st.integers(1, 2))
    def settle(self, pick: int, thousandths: int, times: int) -> None:
        name = list(self.granted)[-1 - pick % len(self.granted)]
        process, amount = self.granted[name]
        for _ in range(times if process in self.processes else 0):
            try:
                done = self.run(process.settle(name, amount * thousandths // 1_000))
            except StoreError:  # its lease ends, then
                assert self.place.inner.away
                continue
            if done:
                assert name not in self.charged
                self.charged[name] = amount * thousandths // 1_000

    @rule(away=st.booleans())
    def ledger_goes_or_returns(self, away: bool) -> None:
        self.place.inner.away = away

    @rule(process=PROCESS)
    def tend(self, process: int) -> None:
        self.run(self.processes[process].tend())

    @rule(seconds=st.integers(1, 70))
    def time_passes(self, seconds: int) -> None:
        """Longer than a hold lasts, yet all of it shorter than a lease."""
        self.place.clock.now += seconds

    @rule(process=PROCESS)
    def process_dies(self, process: int) -> None:
        self.died = True
        self.processes[process] = self.run(self.place.open())

    @invariant()
    def no_more_is_set_aside_and_spent_than_there_is(self) -> None:
        spent, held = self.place.memory.windows.get(WINDOW.key, (0, 0))
        assert held >= 0
        assert 0 <= spent + held <= LIMIT

    def ask(self, process: LocalFallbackStore, max_cost: int, min_budget: int) -> None:
        reservation = Reservation(f"acme/h{next(self.names)}", (WINDOW,), max_cost, min_budget, HOLD_LEASE_S)
        try:
            answer = self.run(process.reserve(reservation))
        except StoreError:
            assert self.place.inner.away
            return
        if isinstance(answer, Grant):
            assert min_budget <= answer.amount <= max_cost
            self.granted[reservation.id] = (process, answer.amount)


@pytest.mark.parametrize("histories", HISTORIES)
def test_any_history_within_leases_keeps_the_budget(
    histories: int, record_property: Callable[[str, object], None]
) -> None:
    record_property("histories", f"{play(LeasedMachine, histories)} within leases")
