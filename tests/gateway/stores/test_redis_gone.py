"""A Redis that is slow, stopped, killed or restarted: errors in time, nothing lost, nothing spent twice."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.core.budget import Window
from gateway.core.hold import Granted
from gateway.stores.base import StoreError
from gateway.stores.redis import RedisOptions, RedisStore
from tests.checks.store_checks import hold

from .redis_server import RedisServer

WINDOW = Window("acme/total", 10_000, 0.0, None)
PATIENCE_S = 20.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    started = RedisServer(tmp_path / "redis")
    yield started
    started.stop()


async def opened(server: RedisServer, said: list[str] | None = None) -> RedisStore:
    store = RedisStore(RedisOptions(server.url, rest_s=0.1), time.time, (said if said is not None else []).append)
    await store.open()
    return store


async def stands_at(store: RedisStore, expected: tuple[int, int]) -> None:
    """Wait until the window stands so: the store repeats what was not confirmed by itself."""
    deadline = time.monotonic() + PATIENCE_S
    found = None
    while time.monotonic() < deadline:
        with suppress(StoreError):
            [balance] = await store.balances((WINDOW,))
            found = (balance.spent, balance.held)
            if found == expected:
                return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{found}, not {expected}")


def test_a_stopped_redis_is_an_error_within_its_limit(server: RedisServer) -> None:
    async def case() -> None:
        store = await opened(server)
        server.signal(signal.SIGSTOP)
        took = []
        for number in range(8):
            since = time.monotonic()
            with pytest.raises(StoreError):
                await store.reserve(hold(f"acme/h{number}", 100, None, WINDOW))
            took.append(time.monotonic() - since)
        assert max(took) < 1.0
        assert sorted(took)[4] < 0.05, "after a few failures it is not even asked"
        server.signal(signal.SIGCONT)
        await stands_at(store, (0, 0))  # reservations that it carried out late are undone
        assert isinstance(await store.reserve(hold("acme/after", 10_000, None, WINDOW)), Granted)
        await store.close()

    asyncio.run(case())


def test_a_settlement_that_was_not_answered_is_repeated_until_it_is_done(server: RedisServer) -> None:
    async def case() -> None:
        store = await opened(server)
        await store.reserve(hold("acme/h", 500, None, WINDOW))
        server.signal(signal.SIGSTOP)
        with pytest.raises(StoreError):
            await store.settle("acme/h", 200)
        assert store.unsettled == 1
        server.signal(signal.SIGCONT)
        await stands_at(store, (200, 0))
        await store.close()
        assert store.unsettled == 0

    asyncio.run(case())


def test_a_killed_redis_comes_back_with_what_it_knew(server: RedisServer) -> None:
    async def case() -> None:
        store = await opened(server)
        await store.reserve(hold("acme/spent", 500, None, WINDOW))
        await store.settle("acme/spent", 400)
        await store.reserve(hold("acme/held", 300, None, WINDOW))
        await asyncio.to_thread(server.kill)
        with pytest.raises(StoreError):
            await store.settle("acme/held", 250)
        with pytest.raises(StoreError):
            await store.reserve(hold("acme/new", 100, None, WINDOW))
        await asyncio.to_thread(server.start)
        await stands_at(store, (650, 0))
        await store.close()

    asyncio.run(case())


@pytest.mark.slow
def test_a_sleeping_redis_costs_nothing_in_the_end(server: RedisServer) -> None:
    async def case() -> None:
        store = await opened(server)
        async with Redis.from_url(server.url, socket_timeout=30) as other:
            sleeping = asyncio.ensure_future(other.execute_command("DEBUG", "SLEEP", "1"))
            await asyncio.sleep(0.2)
            answers = await asyncio.gather(
                *(store.reserve(hold(f"acme/h{number}", 100, None, WINDOW)) for number in range(20)),
                return_exceptions=True,
            )
            assert all(isinstance(answer, StoreError) for answer in answers)
            await sleeping
        await stands_at(store, (0, 0))
        await store.close()

    asyncio.run(case())


def test_going_and_coming_back_are_one_line_each(server: RedisServer) -> None:
    async def case() -> None:
        said: list[str] = []
        store = await opened(server, said)
        await asyncio.to_thread(server.kill)
        for number in range(30):
            with pytest.raises(StoreError):
                await store.reserve(hold(f"acme/h{number}", 100, None, WINDOW))
        await asyncio.to_thread(server.start)
        await stands_at(store, (0, 0))
        await store.close()
        assert len(said) == 2, said
        assert said[0].startswith("Redis does not answer")
        assert said[1] == "Redis answers again"

    asyncio.run(case())


def test_a_script_that_redis_forgot_is_sent_again(server: RedisServer) -> None:
    async def case() -> None:
        store = await opened(server)
        async with Redis.from_url(server.url) as other:
            await other.script_flush()
        assert await store.reserve(hold("acme/h", 100, None, WINDOW)) == Granted(100, 9_900)
        await store.close()

    asyncio.run(case())


def test_a_redis_that_is_not_there_is_said_at_the_start(server: RedisServer) -> None:
    async def case() -> None:
        server.kill()
        with pytest.raises(StoreError, match="does not answer"):
            await opened(server)

    asyncio.run(case())


def test_a_cancelled_reservation_can_be_settled(server: RedisServer) -> None:
    async def case() -> None:
        store = await opened(server)
        for number in range(20):
            task = asyncio.ensure_future(store.reserve(hold(f"acme/h{number}", 100, None, WINDOW)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await store.settle(f"acme/h{number}", 0)
        await stands_at(store, (0, 0))
        await store.close()

    asyncio.run(case())
