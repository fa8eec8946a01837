"""The store in Redis obeys the laws of every budget store, whatever its history."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator

import pytest

from gateway.billing.reservation import Grant
from gateway.stores.redis.budgets import RedisSettings, RedisStore
from tests.checks.ledger_checks import HISTORIES, LedgerMachine, play
from tests.checks.store_checks import LEASE_S, STORE_CHECKS, Check, Clock, reservation, stands
from tests.gateway.stores.redis.redis_server import RedisServer

_places = itertools.count()


class RedisPlace:
    """Keys of its own in one Redis."""

    def __init__(self, server: RedisServer) -> None:
        self.options = RedisSettings(server.url, limit_s=30.0, prefix=f"place{next(_places)}")
        self.clock = Clock()
        self.opened: list[RedisStore] = []

    async def open(self) -> RedisStore:
        store = RedisStore(self.options, self.clock, steady=self.clock.steady)
        await store.open()
        self.opened.append(store)
        return store

    async def kill(self, store: RedisStore) -> None:
        """What was sent is carried out, and nobody hears of it: so much is certain, whatever becomes of the sender."""
        await store.close()

    async def end(self) -> None:
        """Close what was left open as by a process that died: here the process goes on."""
        for store in self.opened:
            await store.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    started = RedisServer(tmp_path_factory.mktemp("redis"), sync=None)
    yield started
    started.stop()


@pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
def test_redis_store_obeys(check: Check, server: RedisServer) -> None:
    async def checked() -> None:
        place = RedisPlace(server)
        try:
            await check(place)
        finally:
            await place.end()

    asyncio.run(checked())


@pytest.mark.parametrize("histories", HISTORIES)
def test_any_history_in_redis_is_that_of_the_reference(
    histories: int, server: RedisServer, record_property: Callable[[str, object], None]
) -> None:
    place = RedisPlace(server)

    class LedgerInRedis(LedgerMachine):
        def place_for_it(self) -> RedisPlace:
            return place

    record_property("histories", f"{play(LedgerInRedis, histories)} in redis")


def test_a_jump_of_the_wall_clock_charges_no_reservation_that_its_process_renews(server: RedisServer) -> None:
    async def story() -> None:
        place, steady = RedisPlace(server), Clock()
        store = RedisStore(place.options, place.clock, steady=steady)
        await store.open()
        for name in ("acme/live", "acme/dead"):
            await store.reserve(reservation(name, 300))
        place.clock.now += 7_200
        assert await stands(store) == [(0, 600)]
        assert isinstance(await store.reserve(reservation("acme/next", 100)), Grant)
        assert await stands(store) == [(0, 700)]
        for _ in range(3):
            place.clock.now, steady.now = place.clock.now + LEASE_S / 3, steady.now + LEASE_S / 3
            await store.renew(["acme/live", "acme/next"], LEASE_S)
        assert await stands(store) == [(300, 400)]
        assert [await store.settle(name, 7) for name in ("acme/live", "acme/dead", "acme/next")] == [True] * 3
        assert await stands(store) == [(21, 0)]
        await store.close()

    asyncio.run(story())
