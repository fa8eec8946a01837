"""Laws that every budget store obeys. `STORE_CHECKS` are called, inside an event loop, with a place for stores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pytest

from gateway.billing.reservation import Balance, Grant, OverLimit, Reservation
from gateway.billing.store import BudgetStore
from gateway.billing.window import Window
from gateway.errors import StoreError

DAY = Window("acme/day/1", 1_000, 0.0, 86_400.0)
NEXT_DAY = Window("acme/day/2", 1_000, 86_400.0, 172_800.0)
MONTH = Window("acme/month/1", 5_000, 0.0, 2_678_400.0)
LEASE_S = 60.0


class OpenStore(BudgetStore, Protocol):
    async def close(self) -> None: ...


@dataclass(slots=True)
class Clock:
    """Seconds since the epoch, moved by hand."""

    now: float = 1_000.0
    _seen: float = 1_000.0
    _passed: float = 0.0

    def __call__(self) -> float:
        return self.now

    def steady(self) -> float:
        """Return seconds that never go back: what `now` was moved forward is time that passed, what it was moved back
        was set. Ask after each move.
        """
        self._passed += max(self.now - self._seen, 0.0)
        self._seen = self.now
        return self._passed


class Place(Protocol):
    """Where stores under test keep their state: every store that it opens sees the same."""

    @property
    def clock(self) -> Clock: ...
    async def open(self) -> OpenStore: ...


def reservation(name: str, max_cost: int, min_budget: int | None = None, *windows: Window) -> Reservation:
    return Reservation(name, windows or (DAY,), max_cost, max_cost if min_budget is None else min_budget, LEASE_S)


async def stands(store: BudgetStore, *windows: Window) -> list[tuple[int, int]]:
    """(spent, held) of each window; the day's when none is named."""
    return [(balance.spent, balance.held) for balance in await store.balances(windows or (DAY,))]


async def check_an_untouched_window_is_empty(place: Place) -> None:
    store = await place.open()
    assert await store.balances((DAY, MONTH)) == [Balance(DAY, 0, 0), Balance(MONTH, 0, 0)]
    assert await store.balances(()) == []
    await store.close()


async def check_a_hold_is_set_aside_and_then_spent(place: Place) -> None:
    store = await place.open()
    assert await store.reserve(reservation("h", 300)) == Grant(300, 700)
    assert await stands(store) == [(0, 300)]
    assert await store.settle("h", 120) is True
    assert await stands(store) == [(120, 0)]
    await store.close()


async def check_less_than_the_ceiling_is_granted_where_the_floor_fits(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("h", 900))
    assert await store.reserve(reservation("part", 300, 50)) == Grant(100, 0)
    assert await stands(store) == [(0, 1_000)]
    await store.close()


async def check_a_hold_that_does_not_fit_is_refused_and_sets_nothing_aside(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("spent", 500))
    await store.settle("spent", 450)
    await store.reserve(reservation("held", 400))
    assert await store.reserve(reservation("much", 300, 151)) == OverLimit(DAY, 150, 400)
    assert await stands(store) == [(450, 400)]
    assert await store.settle("much", 10) is False
    assert await store.reserve(reservation("exact", 150)) == Grant(150, 0)
    await store.close()


async def check_money_is_set_aside_in_all_windows_or_in_none(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("month", 4_900, None, MONTH))
    assert await store.reserve(reservation("both", 200, 150, DAY, MONTH)) == OverLimit(MONTH, 100, 4_900)
    assert await stands(store, DAY, MONTH) == [(0, 0), (0, 4_900)]
    assert await store.reserve(reservation("fits", 200, 50, DAY, MONTH)) == Grant(100, 0)
    assert await stands(store, DAY, MONTH) == [(0, 100), (0, 5_000)]
    await store.settle("fits", 70)
    assert await stands(store, DAY, MONTH) == [(70, 0), (70, 4_900)]
    await store.close()


async def check_no_windows_means_no_limit(place: Place) -> None:
    store = await place.open()
    assert await store.reserve(Reservation("h", (), 10**15, 0, LEASE_S)) == Grant(10**15, None)
    assert await store.settle("h", 5) is True
    assert await store.settle("h", 5) is False
    await store.close()


async def check_what_is_free_is_granted_even_when_all_is_spent(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("h", 1_000))
    await store.settle("h", 1_200)
    assert await store.reserve(reservation("free", 0)) == Grant(0, -200)
    assert isinstance(await store.reserve(reservation("cheap", 1)), OverLimit)
    await store.close()


async def check_a_bill_over_its_hold_is_spent_in_full(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("h", 900))
    await store.settle("h", 1_300)
    assert await stands(store) == [(1_300, 0)]
    assert await store.reserve(reservation("more", 1)) == OverLimit(DAY, 0, 0)
    await store.close()


async def check_a_hold_is_settled_once(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("h", 300))
    assert [await store.settle("h", charge) for charge in (100, 100, 300)] == [True, False, False]
    assert await store.settle("never", 100) is False
    assert await stands(store) == [(100, 0)]
    await store.close()


async def check_settlements_at_once_count_once(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("h", 300))
    assert sorted(await asyncio.gather(*(store.settle("h", 100) for _ in range(20)))) == [False] * 19 + [True]
    assert await stands(store) == [(100, 0)]
    await store.close()


async def check_the_same_id_again_holds_once(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("h", 300))
    again = await store.reserve(reservation("h", 300))
    assert isinstance(again, Grant)
    assert again.amount == 300
    assert await stands(store) == [(0, 300)]
    await store.settle("h", 100)
    await store.reserve(reservation("h", 300))
    assert await stands(store) == [(100, 0)]
    await store.close()


async def check_reservers_at_once_never_pass_the_limit(place: Place) -> None:
    store = await place.open()
    answers = await asyncio.gather(*(store.reserve(reservation(f"h{i}", 70)) for i in range(64)))
    assert sum(isinstance(answer, Grant) for answer in answers) == 1_000 // 70
    assert await stands(store) == [(0, 1_000 // 70 * 70)]
    await store.close()


async def check_two_stores_at_once_never_pass_the_limit(place: Place) -> None:
    stores = [await place.open(), await place.open()]
    answers = await asyncio.gather(*(stores[i % 2].reserve(reservation(f"h{i}", 70)) for i in range(64)))
    assert sum(isinstance(answer, Grant) for answer in answers) == 1_000 // 70
    assert await stands(stores[0]) == await stands(stores[1]) == [(0, 1_000 // 70 * 70)]
    await asyncio.gather(*(store.close() for store in stores))


async def check_a_reservation_given_up_and_settled_leaves_nothing(place: Place) -> None:
    store = await place.open()
    for steps in range(4):
        task = asyncio.ensure_future(store.reserve(reservation(f"h{steps}", 300)))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.settle(f"h{steps}", 0)
        assert await stands(store) == [(0, 0)]
    await store.close()


async def check_a_settlement_given_up_is_carried_out(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("h", 300))
    task = asyncio.ensure_future(store.settle("h", 100))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await stands(store) == [(100, 0)]
    await store.close()


async def check_balances_see_what_was_asked_for_before(place: Place) -> None:
    store = await place.open()
    reserved = asyncio.ensure_future(store.reserve(reservation("h", 300)))
    await asyncio.sleep(0)
    assert await stands(store) == [(0, 300)]
    await reserved
    await store.close()


async def check_balances_are_told_though_others_never_stop_asking(place: Place) -> None:
    store = await place.open()
    told, started = asyncio.Event(), set[int]()
    all_started = asyncio.Event()

    async def spend(name: int) -> None:
        turn = 0
        while not told.is_set():
            await store.reserve(reservation(f"h{name}.{turn}", 1))
            await store.settle(f"h{name}.{turn}", 0)
            started.add(name)
            if len(started) == 16:
                all_started.set()
            for _ in range(1 + name % 5):  # not in step; and the store in memory never waits
                await asyncio.sleep(0)
            turn += 1

    spending = [asyncio.ensure_future(spend(name)) for name in range(16)]
    await all_started.wait()
    async with asyncio.timeout(60):
        assert len(await stands(store, DAY, MONTH)) == 2
    told.set()
    await asyncio.gather(*spending)
    await store.close()


async def check_a_lease_that_ends_is_charged_in_full(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("gone", 300, None, DAY, MONTH))
    place.clock.now += LEASE_S - 1
    assert await stands(store, DAY, MONTH) == [(0, 300), (0, 300)]
    place.clock.now += 2
    assert await stands(store, DAY, MONTH) == [(300, 0), (300, 0)]
    await store.close()


async def check_a_late_settlement_corrects_what_an_ended_lease_was_charged(place: Place) -> None:
    store = await place.open()
    tokens, requests = Window("acme/t", 100, 0.0, 60.0, "tokens"), Window("acme/r", 2, 0.0, 60.0, "requests")
    windows = (DAY, tokens, requests)
    await store.reserve(Reservation("slow", windows, 300, 300, LEASE_S, tokens=60))
    place.clock.now += LEASE_S + 2
    assert await stands(store, *windows) == [(300, 0), (60, 0), (1, 0)]
    assert [await store.settle("slow", 10, 5) for _ in range(3)] == [True, False, False]
    assert await stands(store, *windows) == [(10, 0), (5, 0), (1, 0)]
    await store.renew(["slow"], LEASE_S)
    place.clock.now += 2 * LEASE_S
    assert await stands(store, *windows) == [(10, 0), (5, 0), (1, 0)]
    await store.close()


async def check_a_late_settlement_may_come_before_the_ended_lease_is_noticed(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("slow", 300))
    place.clock.now += LEASE_S + 2
    assert [await store.settle("slow", 10) for _ in range(2)] == [True, False]
    assert await stands(store) == [(10, 0)]
    await store.close()


async def check_a_late_settlement_of_another_process_corrects_too(place: Place) -> None:
    mine, other = await place.open(), await place.open()
    await mine.reserve(reservation("slow", 300))
    place.clock.now += LEASE_S + 2
    assert await stands(other) == [(300, 0)]
    assert [await mine.settle("slow", 400), await other.settle("slow", 400)] == [True, False]
    assert await stands(other) == [(400, 0)]
    await mine.close()
    await other.close()


async def check_several_limits_of_one_window_count_once(place: Place) -> None:
    store = await place.open()
    soft, lower = replace(DAY, limit=400, soft=True), replace(DAY, limit=700)
    windows = (DAY, soft, lower, replace(DAY, limit=300, soft=True))
    assert await store.reserve(reservation("one", 300, None, *windows)) == Grant(300, 400)
    assert await stands(store) == [(0, 300)]
    assert await store.reserve(reservation("two", 300, None, *windows)) == Grant(300, 100, (DAY.key,))
    assert await store.reserve(reservation("over", 300, None, *windows)) == OverLimit(lower, 100, 600)
    assert await store.settle("one", 100) is True
    assert await stands(store, DAY, soft) == [(100, 300), (100, 300)]
    place.clock.now += LEASE_S + 2
    assert await stands(store) == [(400, 0)]
    assert await store.settle("two", 200) is True
    assert await stands(store) == [(300, 0)]
    await store.close()


async def check_a_lease_ends_though_the_clock_was_set_back(place: Place) -> None:
    store = await place.open()
    place.clock.now += 1_000_000
    await store.reserve(reservation("early", 100))
    place.clock.now -= 900_000
    await store.reserve(reservation("gone", 300))
    assert await stands(store) == [(0, 400)]
    place.clock.now += LEASE_S + 1
    assert await stands(store) == [(300, 100)]
    await store.close()


async def check_many_leases_end_together(place: Place) -> None:
    store = await place.open()
    await asyncio.gather(*(store.reserve(reservation(f"h{i}", 1)) for i in range(800)))
    place.clock.now += LEASE_S + 1
    await stands(store)
    place.clock.now += 2
    assert await stands(store) == [(800, 0)]
    await store.close()


async def check_a_hold_is_spent_in_the_window_it_was_set_aside_in(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("h", 300))
    assert await store.reserve(reservation("next", 1_000, None, NEXT_DAY)) == Grant(1_000, 0)
    await store.settle("h", 200)
    assert await stands(store, DAY, NEXT_DAY) == [(200, 0), (0, 1_000)]
    await store.close()


async def check_a_limit_may_change_at_any_time(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("h", 600))
    lower, higher = replace(DAY, limit=500), replace(DAY, limit=2_000)
    assert await store.reserve(reservation("a", 1, None, lower)) == OverLimit(lower, 0, 600)
    assert await store.reserve(reservation("b", 1_400, None, higher)) == Grant(1_400, 0)
    await store.close()


async def check_an_amount_beyond_all_sense_hurts_only_its_own_request(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("h", 300))
    await store.reserve(reservation("other", 300))
    answers = await asyncio.gather(
        store.settle("h", 10**30),
        store.settle("other", 200),
        store.reserve(reservation("huge", 10**30, 1)),
        return_exceptions=True,
    )
    assert isinstance(answers[0], StoreError)
    assert answers[1] is True
    assert isinstance(answers[2], StoreError)
    assert await stands(store) == [(200, 300)]
    await store.close()


async def check_state_outlives_the_store(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("h", 300))
    await store.reserve(reservation("spent", 200))
    await store.settle("spent", 150)
    await store.close()
    again = await place.open()
    assert await stands(again) == [(150, 300)]
    assert await again.settle("spent", 150) is False
    assert await again.settle("h", 50) is True
    assert await stands(again) == [(200, 0)]
    await again.close()


async def check_what_was_asked_for_is_done_before_closing(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("h", 300))
    settled = asyncio.ensure_future(store.settle("h", 100))
    await asyncio.sleep(0)
    await store.close()
    assert await settled is True
    again = await place.open()
    assert await stands(again) == [(100, 0)]
    await again.close()


async def check_a_closed_store_answers_with_an_error(place: Place) -> None:
    store = await place.open()
    await store.close()
    async with asyncio.timeout(60):
        with pytest.raises(StoreError):
            await store.balances((DAY,))


async def check_windows_of_tokens_and_requests_count_their_own(place: Place) -> None:
    store = await place.open()
    tokens, requests = Window("acme/t", 100, 0.0, 60.0, "tokens"), Window("acme/r", 2, 0.0, 60.0, "requests")
    windows = (DAY, tokens, requests)
    first = Reservation("first", windows, 300, 300, LEASE_S, tokens=60)
    assert await store.reserve(first) == Grant(300, 700)
    assert await stands(store, *windows) == [(0, 300), (0, 60), (0, 1)]
    assert await store.reserve(first._replace(id="many tokens", tokens=41)) == OverLimit(tokens, 40, 60)
    assert await store.settle("first", 200, 30) is True
    assert await stands(store, *windows) == [(200, 0), (30, 0), (1, 0)]
    again = first._replace(id="second try", requests=0)
    assert await store.reserve(again) == Grant(300, 500)
    assert await store.reserve(first._replace(id="second", tokens=1)) == Grant(300, 200)
    assert await store.reserve(first._replace(id="third", tokens=1, max_cost=0, min_budget=0)) == OverLimit(
        requests, 0, 1
    )
    await store.close()


async def check_a_lease_that_ends_is_charged_its_tokens_and_requests_too(place: Place) -> None:
    store = await place.open()
    tokens, requests = Window("acme/t", 100, 0.0, 60.0, "tokens"), Window("acme/r", 2, 0.0, 60.0, "requests")
    await store.reserve(Reservation("gone", (tokens, requests), 300, 300, LEASE_S, tokens=60))
    place.clock.now += LEASE_S + 2
    assert await stands(store, tokens, requests) == [(60, 0), (1, 0)]
    await store.close()


async def check_a_soft_window_counts_and_refuses_nothing(place: Place) -> None:
    store = await place.open()
    soft = replace(DAY, key="acme/soft", limit=400, soft=True)
    assert await store.reserve(reservation("fits", 300, None, soft, MONTH)) == Grant(300, 4_700)
    assert await store.reserve(reservation("over", 300, None, soft, MONTH)) == Grant(300, 4_400, ("acme/soft",))
    assert await stands(store, soft) == [(0, 600)]
    await store.settle("over", 300)
    assert await stands(store, soft) == [(300, 300)]
    await store.close()


async def check_a_window_apart_refuses_and_is_not_what_is_left(place: Place) -> None:
    store = await place.open()
    separate = replace(DAY, key="acme/apart", limit=500, separate=True)
    assert await store.reserve(reservation("fits", 300, None, MONTH, separate)) == Grant(300, 4_700)
    refused = await store.reserve(reservation("over", 300, None, MONTH, separate))
    assert refused == OverLimit(separate, 200, 300)
    assert await stands(store, MONTH, separate) == [(0, 300), (0, 300)]
    await store.settle("fits", 100)
    assert await stands(store, MONTH, separate) == [(100, 0), (100, 0)]
    await store.close()


async def check_a_rolling_window_counts_its_earlier_parts(place: Place) -> None:
    store = await place.open()
    part = Window("acme/rolling/7", 1_000, 0.0, 60.0, earlier=("acme/rolling/6", "acme/rolling/5"))
    earlier = Window("acme/rolling/6", 1_000, 0.0, 60.0, earlier=("acme/rolling/5", "acme/rolling/4"))
    await store.reserve(reservation("held", 300, None, earlier))
    await store.reserve(reservation("spent", 300, None, earlier))
    await store.settle("spent", 100)
    assert await store.reserve(reservation("over", 700, None, part)) == OverLimit(part, 600, 300)
    assert await store.reserve(reservation("fits", 600, None, part)) == Grant(600, 0)
    assert await stands(store, part, earlier) == [(100, 900), (100, 300)]
    later = Window("acme/rolling/9", 1_000, 0.0, 60.0, earlier=("acme/rolling/8", "acme/rolling/7"))
    assert await stands(store, later) == [(0, 600)]
    await store.close()


async def check_a_renewed_lease_lives_on(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("long", 300))
    await store.reserve(reservation("gone", 100))
    place.clock.now += LEASE_S - 1
    await store.renew(["long", "never was"], LEASE_S)
    place.clock.now += LEASE_S - 1
    assert await stands(store) == [(100, 300)]
    assert await store.settle("long", 50) is True
    await store.renew(["long", "gone"], LEASE_S)
    assert await stands(store) == [(150, 0)]
    await store.close()


async def check_renewing_never_shortens_a_lease(place: Place) -> None:
    store = await place.open()
    await store.reserve(reservation("h", 300))
    await store.renew(["h"], 1.0)
    place.clock.now += LEASE_S - 1
    assert await stands(store) == [(0, 300)]
    await store.close()


Check = Callable[[Place], Coroutine[Any, Any, None]]
STORE_CHECKS: tuple[Check, ...] = tuple(check for name, check in sorted(globals().items()) if name.startswith("check_"))
