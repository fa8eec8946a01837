"""Going on without the ledger: within the lease, never beyond it, and settled to the nanodollar afterwards."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.billing.reservation import Grant, OverLimit, Reservation
from gateway.billing.window import Window
from gateway.errors import StoreError
from gateway.stores.local_fallback import LEASE_S, UNUSED_S, LocalAllowance, LocalFallbackStore
from gateway.stores.memory import Memory
from tests.checks.store_checks import DAY, MONTH, NEXT_DAY, STORE_CHECKS, Check, Clock, reservation, stands

from .flighty import LEASE, Flighty, Place


def lease_of(place: Place) -> int:
    return sum(s.amount for name, s in place.memory.holds.items() if "/lease." in name and s.state == "held")


def test_what_is_set_aside_is_a_hold_like_any_other() -> None:
    async def case() -> None:
        place = Place()
        store = await place.ready()
        assert store.set_aside == LEASE == lease_of(place)
        assert await stands(place.inner) == [(100, LEASE)]
        assert await store.reserve(reservation("rest", 1_000)) == OverLimit(DAY, 700, LEASE)
        await store.close()
        assert await stands(place.inner) == [(100, 0)]

    asyncio.run(case())


def test_requests_are_granted_out_of_the_lease_and_no_further() -> None:
    async def case() -> None:
        place = Place()
        store = await place.ready()
        place.inner.away = True
        assert await store.reserve(reservation("a", 150)) == Grant(150, 50, local=True)
        assert await store.reserve(reservation("b", 150, 10)) == Grant(50, 0, local=True)
        with pytest.raises(StoreError):
            await store.reserve(reservation("c", 1))
        assert await store.settle("a", 60) is True
        assert await store.reserve(reservation("d", 90)) == Grant(90, 0, local=True)
        for name, charge in (("b", 50), ("d", 80)):
            await store.settle(name, charge)
        place.inner.away = False
        await store.tend()
        assert await stands(place.inner) == [(100 + 60 + 50 + 80, LEASE)]
        await store.close()
        assert await stands(place.inner) == [(290, 0)]
        assert [line.partition(":")[0] for line in place.said] == [
            "budgets are enforced locally, within 200 nanodollars",
            "budgets are enforced by the ledger again",
        ]

    asyncio.run(case())


def test_a_budget_without_a_lease_is_closed() -> None:
    async def case() -> None:
        place = Place()
        store = await place.ready()
        place.inner.away = True
        for windows in ((NEXT_DAY,), (DAY, MONTH)):
            with pytest.raises(StoreError):
                await store.reserve(reservation("h", 1, None, *windows))
        assert place.said == []

    asyncio.run(case())


def test_nothing_is_set_aside_for_windows_apart_and_they_are_refused_meanwhile() -> None:
    async def case() -> None:
        place = Place()
        store = await place.ready()
        separate = replace(DAY, key="acme/apart/1", limit=500, separate=True)
        assert isinstance(await store.reserve(reservation("asked", 100, None, DAY, separate)), Grant)
        await store.settle("asked", 0)
        await store.tend()
        assert await stands(place.inner, DAY, separate) == [(100, LEASE), (0, 0)]
        place.inner.away = True
        assert await store.reserve(reservation("drawn", 100, None, DAY, separate)) == OverLimit(separate, 0, 0)
        assert await store.reserve(reservation("best", 100)) == Grant(100, 100, local=True)
        place.inner.away = False
        await store.close()

    asyncio.run(case())


def test_what_counts_no_money_goes_on() -> None:
    async def case() -> None:
        place = Place()
        store = await place.ready()
        place.inner.away = True
        rate = Window("acme/r", 0, 0.0, 60.0, "requests")
        soft = replace(DAY, key="acme/soft", limit=0, soft=True)
        assert await store.reserve(reservation("h", 5, None, rate, soft)) == Grant(5, None, local=True)
        assert await store.reserve(reservation("free", 0, 0, DAY, rate)) == Grant(0, LEASE, local=True)

    asyncio.run(case())


def test_a_request_under_way_keeps_its_lease_until_it_is_settled() -> None:
    async def case() -> None:
        place = Place()
        store = await place.ready()
        place.inner.away = True
        await store.reserve(reservation("long", 150))
        place.inner.away = False
        await store.tend()
        place.clock.now += LEASE_S - 1
        await store.tend()
        place.clock.now += LEASE_S - 1
        await store.renew(["long"], 60)
        assert await stands(place.inner) == [(100, LEASE)]
        assert await store.settle("long", 120) is True
        await store.tend()
        assert await stands(place.inner) == [(220, LEASE)]

    asyncio.run(case())


def test_a_lease_that_ran_out_is_charged_whole_until_what_was_spent_of_it_is_known() -> None:
    async def case() -> None:
        place = Place()
        store = await place.ready()
        place.inner.away = True
        await store.reserve(reservation("a", 50))
        await store.settle("a", 50)
        place.clock.now += LEASE_S + 1
        place.inner.away = False
        assert (await stands(place.inner))[0][0] == 100 + LEASE
        await store.tend()
        assert (await stands(place.inner))[0][0] == 100 + 50
        assert not any("charged whole" in line for line in place.said)

    asyncio.run(case())


def test_a_lease_of_a_budget_that_nobody_uses_is_given_back() -> None:
    async def case() -> None:
        place = Place()
        store = await place.ready()
        place.clock.now += UNUSED_S + 1
        await store.tend()
        assert store.set_aside == 0
        assert await stands(place.inner) == [(100, 0)]

    asyncio.run(case())


class Stubborn(Flighty):
    """It makes a lease, and never says so."""

    def __init__(self, clock: Clock, memory: Memory) -> None:
        super().__init__(clock, memory)
        self.taken = asyncio.Event()

    async def reserve(self, asked: Reservation) -> Grant | OverLimit:
        answer = await super().reserve(asked)
        if "/lease." in asked.id:
            self.taken.set()
            await asyncio.Event().wait()
        return answer


def test_a_lease_that_can_not_be_had_is_taken_another_time() -> None:
    async def case() -> None:
        place = Place()
        store = await place.open()
        await store.reserve(reservation("first", 900))
        place.inner.lends = False
        with pytest.raises(StoreError):
            await store.tend()
        assert store.set_aside == 0
        place.inner.lends = True
        await store.settle("first", 100)
        await store.tend()
        assert store.set_aside == LEASE == lease_of(place)
        await store.close()

    asyncio.run(case())


def test_a_process_that_ends_while_it_takes_a_lease_leaves_nothing_held() -> None:
    async def case() -> None:
        inner = Stubborn(Clock(), Memory())
        store = LocalFallbackStore(inner, Clock(), LocalAllowance(LEASE, "p", tend_s=0.001), [].append)
        await store.open()
        await store.reserve(reservation("first", 300))
        await store.settle("first", 100)
        async with asyncio.timeout(60):
            await inner.taken.wait()
        assert await stands(inner) == [(100, LEASE)]
        await store.close()
        assert await stands(inner) == [(100, 0)]

    asyncio.run(case())


def test_two_processes_never_spend_more_than_the_budget() -> None:
    async def case() -> None:
        place = Place()
        stores = [await place.ready(), await place.open()]
        await stores[1].reserve(reservation("second", 300))
        await stores[1].settle("second", 300)
        await stores[1].tend()
        place.inner.away = True
        granted = 0
        for number, store in enumerate(stores * 20):
            try:
                answer = await store.reserve(reservation(f"h{number}", 60, 1))
            except StoreError:
                continue
            assert isinstance(answer, Grant)
            granted += answer.amount
            await store.settle(f"h{number}", answer.amount)
        assert granted == 2 * LEASE
        place.inner.away = False
        for store in stores:
            await store.close()
        assert await stands(place.inner) == [(100 + 300 + granted, 0)]

    asyncio.run(case())


def test_who_asks_whether_it_is_ready_is_told_so_while_there_is_a_lease() -> None:
    async def case() -> None:
        place = Place()
        bare, leased = await place.open(), await place.ready()
        place.inner.away = True
        with pytest.raises(StoreError):
            await bare.balances(())
        assert await leased.balances(()) == []
        with pytest.raises(StoreError):
            await leased.balances((DAY,))

    asyncio.run(case())


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_while_the_ledger_answers_it_obeys_as_any_store(check: Check) -> None:
    asyncio.run(check(Place()))
