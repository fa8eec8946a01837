"""Reservations of requests under way: made, renewed, and settled to the end, whatever becomes of the request."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Coroutine, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.billing.reservation import Grant, OverLimit, Reservation
from gateway.billing.window import Window
from gateway.errors import RequestError, StoreError
from gateway.pipeline.reservations import Reservations
from gateway.stores.memory import Memory, MemoryStore
from gateway.stores.sqlite.budgets import SqliteStore
from tests.fakes.clock import HandClock
from tests.fakes.ledger import Answer, ScriptedLedger
from tests.gateway.stores.flighty import Flighty

DAY = Window("acme/day/x", 1_000, 0.0, None)
LEASE_S = 30.0


def a_hold(name: str = "acme/req_1.0") -> Reservation:
    return Reservation(name, (DAY,), 100, 100, LEASE_S)


@dataclass
class Reserving:
    """Reservations on a scripted ledger; they are renewed while a test asks for it."""

    answers: Sequence[Answer] = ()
    clock: HandClock = field(default_factory=HandClock)

    def __post_init__(self) -> None:
        self.naps = 0
        self.reported: list[tuple[str, str]] = []
        self.ledger = ScriptedLedger(self.clock, self.answers)
        self.reservations = Reservations(
            self.ledger,
            LEASE_S,
            lambda where, error: self.reported.append((where, str(error))),
            self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        if not self.naps:
            raise asyncio.CancelledError
        self.naps -= 1
        await self.clock.sleep(seconds)

    async def renewed(self, naps: int) -> list[tuple[float, list[str], float]]:
        """What the ledger was asked to renew in so many rounds, a third of a lease apart."""
        first, self.naps = len(self.ledger.renewed), naps
        with pytest.raises(asyncio.CancelledError):
            await self.reservations.renew_for_ever()
        return self.ledger.renewed[first:]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_a_reservation_is_renewed_three_times_a_lease_until_it_is_settled() -> None:
    async def story() -> None:
        at = Reserving()
        assert await at.reservations.reserve(a_hold()) == Grant(100, None)
        assert await at.renewed(3) == [(each, ["acme/req_1.0"], LEASE_S) for each in (10.0, 20.0, 30.0)]
        await at.reservations.settle("acme/req_1.0", 70, 7)
        assert at.ledger.settled == [("acme/req_1.0", 70, 7)]
        assert await at.renewed(3) == []
        assert at.reported == []

    run(story())


def test_nothing_is_asked_of_the_ledger_while_no_request_is_under_way() -> None:
    async def story() -> None:
        at = Reserving()
        assert await at.renewed(5) == []

    run(story())


def test_all_reservations_under_way_are_renewed_in_one_call() -> None:
    async def story() -> None:
        at = Reserving()
        for name in ("one", "two", "three"):
            await at.reservations.reserve(a_hold(name))
        await at.reservations.settle("two", 0, 0)
        assert await at.renewed(1) == [(10.0, ["one", "three"], LEASE_S)]

    run(story())


def test_what_was_refused_is_handed_on_and_not_renewed() -> None:
    async def story() -> None:
        refused = OverLimit(DAY, 5, 0)
        at = Reserving([refused])
        assert await at.reservations.reserve(a_hold()) == refused
        assert await at.renewed(2) == []

    run(story())


def test_a_ledger_that_does_not_answer_is_a_503_and_nothing_is_renewed() -> None:
    async def story() -> None:
        at = Reserving([StoreError("away")])
        with pytest.raises(RequestError) as refused:
            await at.reservations.reserve(a_hold())
        assert (refused.value.status, refused.value.code) == (503, "store_unavailable")
        assert isinstance(refused.value.__cause__, StoreError)
        assert await at.renewed(2) == []
        assert await at.reservations.reserve(a_hold()) == Grant(100, None), "it works again"

    run(story())


def test_a_reservation_that_is_under_way_is_renewed_already() -> None:
    """The ledger may have granted it before its answer was lost: until it is settled nobody knows."""

    async def story() -> None:
        at = Reserving([asyncio.CancelledError()])
        with pytest.raises(asyncio.CancelledError):
            await at.reservations.reserve(a_hold())
        assert len(await at.renewed(1)) == 1
        await at.reservations.settle("acme/req_1.0", 0, 0)
        assert await at.renewed(1) == []

    run(story())


def test_a_renewal_that_fails_is_reported_and_tried_again() -> None:
    async def story() -> None:
        at = Reserving()
        await at.reservations.reserve(a_hold())
        at.ledger.fails = [StoreError("busy"), StoreError("away")]
        assert len(await at.renewed(3)) == 3
        assert at.reported == [("renew", "busy"), ("renew", "away")]

    run(story())


def test_a_settlement_that_fails_is_reported_and_fails_no_request() -> None:
    async def story() -> None:
        at = Reserving()
        await at.reservations.reserve(a_hold())
        at.ledger.fails = [StoreError("away")]
        await at.reservations.settle("acme/req_1.0", 70, 7)
        assert (at.reported, at.ledger.settled) == ([("settle", "away")], [])
        assert await at.renewed(2) == []
        await at.reservations.settle("acme/req_1.0", 70, 7)
        assert at.ledger.settled == [("acme/req_1.0", 70, 7)]

    run(story())


def test_settlements_that_failed_are_repeated_in_their_order_until_they_hold() -> None:
    async def story() -> None:
        at = Reserving()
        at.naps = 3
        at.ledger.fails = [StoreError("busy")] * 2
        for name in ("one", "two"):
            await at.reservations.settle(name, 70, 7)
        at.ledger.fails = [StoreError("busy")] * 2 + [StoreError("row")]
        assert at.reservations.unsettled == 2
        while at.reservations.unsettled:
            await asyncio.sleep(0)
        assert sorted(at.ledger.settled) == [("one", 70, 7), ("two", 70, 7)]
        assert at.reported == [("settle", "busy")] * 2, "said once each"
        at.ledger.settled.clear()
        await at.reservations.drain()
        assert at.ledger.settled == []

    run(story())


def test_a_settlement_that_never_holds_is_in_nobody_elses_way() -> None:
    async def story() -> None:
        at = Reserving()
        at.ledger.fails = [StoreError("no such amount"), StoreError("busy")]
        for name in ("never", "later"):
            await at.reservations.settle(name, 70, 7)
        at.ledger.fails = [StoreError("no such amount")]
        at.naps = 1
        await at.reservations.settle("now", 1, 1)
        while ("later", 70, 7) not in at.ledger.settled:
            await asyncio.sleep(0)
        assert at.reservations.unsettled >= 1

    run(story())


def test_what_can_not_be_settled_at_the_end_is_said() -> None:
    async def story() -> None:
        at = Reserving()
        at.ledger.fails = [StoreError("full")] * 2
        await at.reservations.settle("acme/req_1.0", 70, 7)
        await at.reservations.drain()
        lost = "1 settlements are lost, their reservations will be charged in full"
        assert at.reported == [("settle", "full"), ("settle", lost)]

    run(story())


def test_a_settlement_that_holds_after_the_lease_ended_charges_the_truth() -> None:
    """On a real ledger, which was away for longer than a lease."""

    async def story() -> None:
        clock = HandClock()
        memory = Memory()
        store = Flighty(clock, memory)
        reservations = Reservations(store, LEASE_S, lambda where, error: None)
        await reservations.reserve(a_hold())
        store.away = True
        await reservations.settle("acme/req_1.0", 70, 7)
        clock.turn(10 * LEASE_S)
        [balance] = await MemoryStore(clock, memory).balances([DAY])
        assert (balance.spent, balance.held) == (100, 0)
        store.away = False
        await reservations.drain()
        [balance] = await store.balances([DAY])
        assert (balance.spent, balance.held) == (70, 0)

    run(story())


def test_a_settlement_in_a_locked_file_is_repeated_when_the_lock_is_gone(tmp_path: Path) -> None:
    async def story() -> None:
        path, reported = tmp_path / "loupe.sqlite", list[str]()
        store = SqliteStore(path, lambda: 0.0, lock_patience_s=0.0)
        await store.open()
        reservations = Reservations(store, LEASE_S, lambda where, error: reported.append(str(error)))
        await reservations.reserve(a_hold())
        with closing(sqlite3.connect(path, isolation_level=None)) as another:
            another.execute("BEGIN IMMEDIATE")
            await reservations.settle("acme/req_1.0", 70, 7)
            assert (reported, reservations.unsettled) == (["database is locked"], 1)
        await reservations.drain()
        [balance] = await store.balances([DAY])
        assert (balance.spent, balance.held, reservations.unsettled) == (70, 0, 0)
        await store.close()

    run(story())


def test_what_costs_nothing_gives_way_to_money_in_a_full_backlog() -> None:
    async def story() -> None:
        ledger = ScriptedLedger(HandClock())
        ledger.fails = [StoreError("gone") for _ in range(6)]
        reservations = Reservations(ledger, LEASE_S, lambda where, error: None, largest_backlog=3)
        for number in range(4):
            await reservations.settle(f"refused {number}", 0, 0)
        for number in range(2):
            await reservations.settle(f"served {number}", 70, 7)
        assert reservations.unsettled == 3
        await reservations.drain()
        assert sorted(ledger.settled) == [("refused 2", 0, 0), ("served 0", 70, 7), ("served 1", 70, 7)]

    run(story())


def test_a_process_that_was_stopped_renews_its_reservations_before_it_asks_for_more() -> None:
    async def story() -> None:
        steady, ledger = HandClock(), ScriptedLedger(HandClock())
        reservations = Reservations(ledger, LEASE_S, lambda where, error: None, monotonic=steady)
        await reservations.reserve(a_hold("one"))
        steady.turn(LEASE_S / 2)
        await reservations.reserve(a_hold("two"))
        assert ledger.renewed == []
        steady.turn(10 * LEASE_S)
        await reservations.reserve(a_hold("three"))
        assert ledger.renewed == [(0.0, ["one", "two"], LEASE_S)]
        await reservations.reserve(a_hold("four"))
        assert len(ledger.renewed) == 1

    run(story())


async def cancelled_while_settling(at: Reserving) -> asyncio.Task[None]:
    """A request that was cancelled while the ledger took its settlement."""
    at.ledger.gate.clear()
    task = asyncio.ensure_future(at.reservations.settle("acme/req_1.0", 70, 7))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    return task


def test_a_request_that_is_cancelled_is_settled_all_the_same() -> None:
    async def story() -> None:
        at = Reserving()
        task = await cancelled_while_settling(at)
        assert at.ledger.settled == []
        at.ledger.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert at.ledger.settled == [("acme/req_1.0", 70, 7)]

    run(story())


def test_a_request_that_is_cancelled_twice_is_settled_all_the_same() -> None:
    async def story() -> None:
        at = Reserving()
        task = await cancelled_while_settling(at)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert at.ledger.settled == []
        at.ledger.gate.set()
        await at.reservations.drain()
        assert at.ledger.settled == [("acme/req_1.0", 70, 7)]

    run(story())


def test_draining_waits_for_what_is_being_settled_and_for_nothing_else() -> None:
    async def story() -> None:
        at = Reserving()
        await at.reservations.drain()
        task = await cancelled_while_settling(at)
        drained = asyncio.ensure_future(at.reservations.drain())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not drained.done()
        at.ledger.gate.set()
        await drained
        assert at.ledger.settled == [("acme/req_1.0", 70, 7)]
        with pytest.raises(asyncio.CancelledError):
            await task

    run(story())


def test_a_settlement_after_a_cancellation_that_fails_is_reported() -> None:
    async def story() -> None:
        at = Reserving()
        task = await cancelled_while_settling(at)
        at.ledger.fails = [StoreError("away")]
        at.ledger.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert at.reported == [("settle", "away")]
        await at.reservations.drain()
        assert at.ledger.settled == [("acme/req_1.0", 70, 7)]

    run(story())


def test_draining_waits_for_all_though_one_fails_as_no_ledger_should() -> None:
    async def story() -> None:
        at = Reserving()
        tasks = [await cancelled_while_settling(at) for _ in range(2)]
        at.ledger.fails = [ZeroDivisionError("unheard of")]
        at.ledger.gate.set()
        await at.reservations.drain()
        assert at.ledger.settled == [("acme/req_1.0", 70, 7)]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(each) for each in found} == {ZeroDivisionError, asyncio.CancelledError}

    run(story())


@pytest.mark.parametrize("is_renewed", [True, False])
def test_money_stays_held_over_many_leases_while_its_request_lives(is_renewed: bool) -> None:
    """On a real ledger: what is not renewed is charged in full when its lease ends."""

    async def story() -> None:
        clock = HandClock()
        store = MemoryStore(clock)
        reservations = Reservations(store, LEASE_S, lambda where, error: None, clock.sleep)
        await reservations.reserve(a_hold())
        task = asyncio.ensure_future(reservations.renew_for_ever()) if is_renewed else None
        while clock.now < 10 * LEASE_S:
            if task is None:
                clock.turn(LEASE_S)
            await asyncio.sleep(0)
        if task is not None:
            task.cancel()
        [balance] = await store.balances([DAY])
        assert (balance.spent, balance.held) == ((0, 100) if is_renewed else (100, 0))

    run(story())
