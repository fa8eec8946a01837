"""Any history of a ledger, played on a store and on a reference of thirty lines beside it.

Two laws stand above the comparison: what is spent and held never exceeds the limit, and holds return to zero.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar, Protocol

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.billing.reservation import Grant, Reservation
from gateway.billing.window import Budget, Window, window_at
from gateway.errors import StoreError
from tests.checks.ledger_reference import Reference
from tests.checks.store_checks import Clock, OpenStore

LIMIT = 1_000
KINDS = (
    Budget(LIMIT, "minute"),
    Budget(3 * LIMIT, "total"),
    Budget(2 * LIMIT, "hour", rolling=True),
    Budget(LIMIT, "day", soft=True),
    Budget(100, "minute", "tokens"),
    Budget(5, "hour", "requests"),
    Budget(LIMIT - 300, "minute", soft=True),
    Budget(LIMIT - 100, "minute"),
    Budget(4, "hour", "requests", zone="Europe/Berlin"),
)
STEPS = 25
HISTORIES = (8, pytest.param(2_020, marks=pytest.mark.slow))
"""How many a test plays: a few always, many when the whole suite runs."""
HOLDS = st.tuples(*(st.integers(*bounds) for bounds in ((0, 700), (0, 700), (2, 90), (0, 40), (0, 1))))
"""Ceiling, floor, lease in seconds, tokens, requests."""
_tenants = itertools.count()


class MortalPlace(Protocol):
    """A place whose processes can die. It may serve many histories: each is another tenant's."""

    clock: Clock

    async def open(self) -> OpenStore: ...
    async def kill(self, store: Any) -> None:
        """Its process is gone: what it was asked for is done wholly or not at all, and it does nothing more."""
        ...


class LedgerMachine(RuleBasedStateMachine):
    """Subclass it with `place_for_it` for one kind of store, and `play` it."""

    runner: ClassVar[asyncio.Runner]
    played: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.tenant = f"tenant{next(_tenants)}"
        self.place = self.place_for_it()
        self.clock = self.place.clock
        self.clock.now = 1_000_000.0
        self.reference = Reference()
        self.budgets: dict[int, Budget] = dict(enumerate(KINDS[:2]))
        self.largest: dict[str, float] = {}
        """By counter, the largest that the tightest hard limit was when something was reserved."""
        self.seen: dict[str, tuple[Window, str]] = {}
        """Windows that were asked about, with their counter, the latest last."""
        self.was_set_back = False
        self.names, self.steps = itertools.count(), itertools.count()
        self.stores: list[OpenStore] = [self.run(self.place.open())]

    def place_for_it(self) -> MortalPlace:
        raise NotImplementedError

    def run(self, asked: Any) -> Any:
        return self.runner.run(asked)

    @property
    def store(self) -> OpenStore:
        """Processes take turns."""
        self.stores.append(self.stores.pop(0))
        return self.stores[-1]

    def teardown(self) -> None:
        """Time enough for every lease to end: holds are back to zero."""
        try:
            self.move(10_000_000)
            self.compare(list(self.seen.values()))
            assert not self.reference.ends_at
        finally:
            for store in self.stores:
                self.run(store.close())
        type(self).played += 1

    @initialize(asked=HOLDS)
    def begins(self, asked: tuple[int, ...]) -> None:
        self.ask_for(self.new_hold(*asked))

    @rule(asked=HOLDS)
    def reserve(self, asked: tuple[int, ...]) -> None:
        self.ask_for(self.new_hold(*asked))

    @rule(asked=HOLDS, thousandths=st.integers(0, 1_000))
    def reserve_and_settle(self, asked: tuple[int, ...], thousandths: int) -> None:
        reservation = self.new_hold(*asked)
        self.ask_for(reservation)
        if reservation.id in self.reference.made:
            self.settle_once(reservation.id, thousandths)
        else:
            assert self.run(self.store.settle(reservation.id, 5)) is False

    @precondition(lambda self: self.reference.made)
    @rule(pick=st.integers(0, 99), thousandths=st.integers(0, 1_000), times=st.integers(1, 2))
    def settle(self, pick: int, thousandths: int, times: int) -> None:
        """One that stands, or one that was settled or charged before."""
        for _ in range(times):
            self.settle_once(self.picked(pick)[0].id, thousandths)

    @precondition(lambda self: self.reference.made)
    @rule(pick=st.integers(0, 99))
    def reserve_again(self, pick: int) -> None:
        self.ask_for(self.picked(pick)[0])

    @precondition(lambda self: self.reference.made)
    @rule(picks=st.lists(st.integers(0, 99), max_size=3), ttl_s=st.integers(1, 200))
    def renew(self, picks: list[int], ttl_s: int) -> None:
        names = [self.picked(pick)[0].id for pick in picks]
        self.run(self.store.renew([*names, f"{self.tenant}/never"], ttl_s))
        for name in names:
            self.reference.renew(name, self.clock.now + ttl_s)

    @rule(seconds=st.one_of(st.integers(2, 100), st.integers(2, 8_000), st.integers(-2_000, -2)))
    def clock_moves(self, seconds: int) -> None:
        """Time passes, windows roll, or somebody sets the clock."""
        self.was_set_back |= seconds < 0
        self.move(seconds)

    @rule(kind=st.integers(0, len(KINDS) - 1), percent=st.none() | st.integers(0, 200))
    def budget_changes(self, kind: int, percent: int | None) -> None:
        """It is raised, lowered, added or (None) removed."""
        if percent is None:
            self.budgets.pop(kind, None)
            return
        self.budgets[kind] = replace(KINDS[kind], limit=KINDS[kind].limit * percent // 100)

    @rule(how=st.sampled_from(("another starts", "ends", "dies")))
    def processes_change(self, how: str) -> None:
        if how == "another starts":
            if len(self.stores) < 2:
                self.stores.append(self.run(self.place.open()))
            return
        store = self.store
        self.run(self.place.kill(store) if how == "dies" else store.close())
        self.stores[-1] = self.run(self.place.open())

    @precondition(lambda self: self.reference.made)
    @rule(max_cost=st.integers(1, 700), pick=st.integers(0, 99), turns=st.integers(0, 4))
    def process_dies_while_it_is_asked(self, max_cost: int, pick: int, turns: int) -> None:
        """Whatever of it was done: the settlement is asked for again, the hold is one that nobody knows of."""
        reservation, (other, amount) = self.new_hold(max_cost, 0, 60, 1, 0), self.picked(pick)
        self.run(self.die_asked(self.store, reservation, other.id, amount, turns))
        self.stores[-1] = self.run(self.place.open())
        self.run(self.store.settle(other.id, amount, 0))
        self.reference.settle(other.id, amount, 0)
        for store in self.stores:
            self.run(store.settle(reservation.id, 0))

    @invariant()
    def windows_stand_as_the_reference(self) -> None:
        """Two of the latest in turn; all of them are looked at in the end."""
        latest, step = list(self.seen.values())[-len(KINDS) :], next(self.steps)
        self.compare(latest[step % len(latest) :][:2] if latest else [])

    @invariant()
    def spend_and_holds_stay_within_the_limit(self) -> None:
        for window, counter in self.seen.values():
            spent, held = self.reference.stands(window)
            assert held >= 0
            if not (window.earlier and self.was_set_back):
                assert 0 <= spent + held <= self.largest[counter]

    async def die_asked(self, store: OpenStore, reservation: Reservation, name: str, charge: int, turns: int) -> None:
        asked = [asyncio.ensure_future(each) for each in (store.settle(name, charge, 0), store.reserve(reservation))]
        for _ in range(turns):
            await asyncio.sleep(0)
        await self.place.kill(store)
        for each in asked:
            each.cancel()
            with suppress(asyncio.CancelledError, StoreError):
                await each

    def compare(self, seen: list[tuple[Window, str]]) -> None:
        windows = [window for window, _ in seen]
        balances = self.run(self.store.balances(windows))
        assert [(b.spent, b.held) for b in balances] == [self.reference.stands(window) for window in windows]

    def settle_once(self, name: str, thousandths: int) -> None:
        reservation, amount = self.reference.made[name]
        charge, tokens = (whole * thousandths // 1_000 for whole in (amount, reservation.tokens))
        assert self.run(self.store.settle(name, charge, tokens)) is self.reference.settle(name, charge, tokens)

    def ask_for(self, reservation: Reservation) -> None:
        again = reservation.id in self.reference.made
        expected = self.reference.reserve(reservation, self.clock.now)
        found = self.run(self.store.reserve(reservation))
        if again:  # whether what remains is said twice is the store's affair
            assert isinstance(found, Grant)
            assert found.amount == expected.amount
        else:
            assert found == expected

    def move(self, seconds: int) -> None:
        """Move the clock, and let every process notice: it looks for ended leases when it is asked something."""
        self.clock.now += seconds
        self.reference.expire(self.clock.now)
        for store in self.stores:
            self.run(store.balances([window for window, _ in list(self.seen.values())[-1:]]))

    def new_hold(self, max_cost: int, min_budget: int, ttl_s: int, tokens: int, requests: int) -> Reservation:
        """It takes of every budget as they are now."""
        windows = []
        tightest: dict[str, float] = {}
        for budget in self.budgets.values():
            windows.append(window_at(self.tenant, budget, self.clock.now))
            counter = window_at(self.tenant, budget, 0.0).key
            tightest[counter] = min(tightest.get(counter, math.inf), math.inf if budget.soft else budget.limit)
            self.seen.pop(windows[-1].key, None)
            self.seen[windows[-1].key] = (windows[-1], counter)
        for counter, limit in tightest.items():
            self.largest[counter] = max(self.largest.get(counter, 0), limit)
        return Reservation(
            f"{self.tenant}/{next(self.names)}",
            tuple(windows),
            max_cost,
            min(min_budget, max_cost),
            ttl_s,
            tokens,
            requests,
        )

    def picked(self, pick: int) -> tuple[Reservation, int]:
        """A hold that was made; the latest rather."""
        return list(self.reference.made.values())[-1 - pick % len(self.reference.made)]


def play(machine: Any, histories: int) -> int:
    """Play so many histories of a machine that counts what it `played` and runs its stores on a `runner`; how many
    were played (more: some twice, some cut short).
    """
    before = machine.played
    with asyncio.Runner() as machine.runner:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=histories,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
    assert machine.played - before >= histories
    return machine.played - before
