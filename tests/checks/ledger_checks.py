"""Any history of reservations and settlements, played on a store and on a ledger in plain Python beside it.

Two laws stand above the comparison: what is spent and held never exceeds the limit, and holds return to zero.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.budget import Budget, Window, window_at
from gateway.core.hold import Granted, Hold, Refused
from tests.checks.store_checks import OpenStore, Place

LIMIT = 1_000
KINDS = (Budget(LIMIT, "minute"), Budget(3 * LIMIT, "total"))


@dataclass(slots=True)
class Ledger:
    """The reference: what a store must answer and how its windows must stand."""

    windows: dict[str, list[int]] = field(default_factory=dict)
    holds: dict[str, tuple[Hold, int, float]] = field(default_factory=dict)
    standing: set[str] = field(default_factory=set)

    def reserve(self, hold: Hold, now: float) -> Granted | Refused:
        if hold.id in self.holds:
            return Granted(self.holds[hold.id][1], None)
        lefts = []
        for window in hold.windows:
            spent, held = self.window(window)
            lefts.append(window.limit - spent - held)
            if lefts[-1] < hold.floor and hold.ceiling:
                return Refused(window, max(lefts[-1], 0), held)
        amount = max(min([hold.ceiling, *lefts]), 0)
        for window in hold.windows:
            self.window(window)[1] += amount
        self.holds[hold.id] = (hold, amount, now + hold.lease_s)
        self.standing.add(hold.id)
        return Granted(amount, min(lefts) - amount if lefts else None)

    def settle(self, name: str, charge: int) -> bool:
        if name not in self.standing:
            return False
        self.standing.remove(name)
        hold, amount, _ = self.holds[name]
        for window in hold.windows:
            self.window(window)[0] += charge
            self.window(window)[1] -= amount
        return True

    def expire(self, now: float) -> None:
        for name in [name for name in self.standing if self.holds[name][2] <= now]:
            self.settle(name, self.holds[name][1])

    def window(self, window: Window) -> list[int]:
        return self.windows.setdefault(window.key, [0, 0])


class LedgerMachine(RuleBasedStateMachine):
    """Subclass it with `make_place` for one kind of store."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.place = self.make_place()
        self.store: OpenStore = self.runner.run(self.place.open())
        self.ledger = Ledger()
        self.limit = LIMIT
        self.largest_limit = LIMIT
        self.seen: dict[str, Window] = {}

    def make_place(self) -> Place:
        raise NotImplementedError

    def check_the_end(self) -> None:
        """Time enough for every lease to end: holds are back to zero."""
        self.place.clock.now += 1_000_000
        self.ledger.expire(self.place.clock.now)
        self.same_balances()
        assert all(held == 0 for _, held in self.ledger.windows.values())

    def teardown(self) -> None:
        self.check_the_end()
        self.runner.run(self.store.close())
        self.runner.close()

    @rule(ceiling=st.integers(0, 700), floor=st.integers(0, 700), lease=st.integers(2, 90), kinds=st.integers(0, 3))
    def reserve(self, ceiling: int, floor: int, lease: int, kinds: int) -> None:
        windows = [w for bit, w in enumerate(self.windows()) if kinds & 1 << bit]
        name = f"h{len(self.ledger.holds)}.{len(self.seen)}.{ceiling}"
        self.ask_for(Hold(name, tuple(windows), ceiling, min(floor, ceiling), lease))

    @precondition(lambda self: self.ledger.holds)
    @rule(data=st.data())
    def reserve_again(self, data: st.DataObject) -> None:
        hold, _, _ = self.ledger.holds[data.draw(st.sampled_from(sorted(self.ledger.holds)))]
        self.ask_for(hold)

    @precondition(lambda self: self.ledger.holds)
    @rule(data=st.data(), share=st.floats(0, 1))
    def settle(self, data: st.DataObject, share: float) -> None:
        name = data.draw(st.sampled_from(sorted(self.ledger.holds)))
        charge = int(self.ledger.holds[name][1] * share)
        assert self.runner.run(self.store.settle(name, charge)) is self.ledger.settle(name, charge)

    @rule()
    def settle_what_never_was(self) -> None:
        assert self.runner.run(self.store.settle("never", 5)) is False

    @rule(seconds=st.integers(2, 100))
    def time_passes(self, seconds: int) -> None:
        self.step(seconds)

    @rule(seconds=st.integers(2, 5_000))
    def clock_is_set_forward(self, seconds: int) -> None:
        self.step(seconds)

    @rule(seconds=st.integers(2, 500))
    def clock_is_set_back(self, seconds: int) -> None:
        self.step(-seconds)

    @rule(limit=st.integers(0, 2 * LIMIT))
    def limit_changes(self, limit: int) -> None:
        self.limit = limit
        self.largest_limit = max(self.largest_limit, limit)

    @rule()
    def process_dies_and_another_takes_over(self) -> None:
        self.store = self.runner.run(self.place.open())

    @rule()
    def process_ends_and_another_takes_over(self) -> None:
        self.runner.run(self.store.close())
        self.store = self.runner.run(self.place.open())

    @invariant()
    def same_balances(self) -> None:
        windows = list(self.seen.values())
        balances = self.runner.run(self.store.balances(windows))
        assert [[b.spent, b.held] for b in balances] == [self.ledger.window(w) for w in windows]

    @invariant()
    def spend_and_holds_stay_within_the_limit(self) -> None:
        for key, window in self.seen.items():
            spent, held = self.ledger.windows.get(key, (0, 0))
            assert held >= 0
            assert 0 <= spent + held <= (self.largest_limit if window.ends_at else 3 * LIMIT)

    def ask_for(self, hold: Hold) -> None:
        again = hold.id in self.ledger.holds
        self.seen.update({window.key: window for window in hold.windows})
        expected = self.ledger.reserve(hold, self.place.clock.now)
        found = self.runner.run(self.store.reserve(hold))
        if again and isinstance(found, Granted):  # what remains is not said twice
            found = found._replace(remaining=None)
        assert found == expected

    def step(self, seconds: int) -> None:
        """Move the clock, and let the store notice: it looks for ended leases when it is asked something."""
        self.place.clock.now += seconds
        self.ledger.expire(self.place.clock.now)
        self.same_balances()

    def windows(self) -> tuple[Window, Window]:
        minute, total = (window_at("acme", kind, self.place.clock.now) for kind in KINDS)
        return replace(minute, limit=self.limit), total
