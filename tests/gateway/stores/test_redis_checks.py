"""The store in Redis obeys the laws of every budget store, whatever its history."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import settings

from gateway.stores.redis import RedisOptions, RedisStore
from tests.checks.ledger_checks import LedgerMachine
from tests.checks.store_checks import STORE_CHECKS, Check, Clock

from .redis_server import RedisServer

_places = itertools.count()


class RedisPlace:
    """Keys of its own in one Redis."""

    def __init__(self, server: RedisServer) -> None:
        self.options = RedisOptions(server.url, limit_s=5.0, prefix=f"place{next(_places)}")
        self.clock = Clock()
        self.opened: list[RedisStore] = []

    async def open(self) -> RedisStore:
        store = RedisStore(self.options, self.clock)
        await store.open()
        self.opened.append(store)
        return store

    async def end(self) -> None:
        """Close what was left open as by a process that died: here the process goes on."""
        for store in self.opened:
            await store.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    started = RedisServer(tmp_path_factory.mktemp("redis"))
    LedgerInRedis.server = started
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


class LedgerInRedis(LedgerMachine):
    server: RedisServer

    def make_place(self) -> RedisPlace:
        self.redis_place = RedisPlace(self.server)
        return self.redis_place

    def teardown(self) -> None:
        self.check_the_end()
        self.runner.run(self.redis_place.end())
        self.runner.close()


@pytest.mark.usefixtures("server")
class TestRedisLedger(LedgerInRedis.TestCase):  # type: ignore[misc,name-defined]
    settings = settings(max_examples=25, stateful_step_count=40)
