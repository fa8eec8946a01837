"""A Redis that is slow, stopped, killed or restarted: errors in time, nothing lost, nothing spent twice."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.billing.reservation import Grant
from gateway.billing.window import Window
from gateway.errors import StoreError
from gateway.stores.redis.budgets import RedisSettings, RedisStore
from tests.checks.store_checks import reservation
from tests.gateway.stores.redis.redis_server import RedisServer

WINDOW = Window("acme/total", 10_000, 0.0, None)
PATIENCE_S = 60.0
CERTAIN_S = 30.0
"""A limit that a Redis which runs keeps on any machine."""
SHORT_S = 0.05
"""A limit that a Redis which is stopped exceeds."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    started = RedisServer(tmp_path / "redis")
    yield started
    started.stop()


class Standing:
    """A monotonic clock that stands until it is let go."""

    def __init__(self) -> None:
        self.at: float | None = time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() if self.at is None else self.at


async def opened(
    server: RedisServer,
    said: list[str] | None = None,
    *,
    limit_s: float = CERTAIN_S,
    monotonic: Callable[[], float] = time.monotonic,
) -> RedisStore:
    options = RedisSettings(server.url, limit_s=limit_s, rest_s=0.1, start_s=PATIENCE_S)
    store = RedisStore(options, time.time, (said if said is not None else []).append, monotonic)
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


async def settled_at(store: RedisStore) -> None:
    """Wait until all that the store had to repeat is done."""
    async with asyncio.timeout(PATIENCE_S):
        while store.unsettled:
            await asyncio.sleep(0.02)


def test_a_stopped_redis_is_an_error_while_it_is_stopped_and_is_not_asked_after_three_failures(
    server: RedisServer,
) -> None:
    async def case() -> None:
        clock = Standing()
        patient, store = await opened(server), await opened(server, limit_s=SHORT_S, monotonic=clock)
        server.signal(signal.SIGSTOP)
        was_asked = []
        for number in range(8):
            with pytest.raises(StoreError) as caught:
                await store.reserve(reservation(f"acme/h{number}", 100, None, WINDOW))
            was_asked.append(caught.value.__cause__ is not None)
        assert 1 <= sum(was_asked) <= 3, "what is undone meanwhile may have met a failure, too"
        assert was_asked == sorted(was_asked, reverse=True)
        server.signal(signal.SIGCONT)
        clock.at = None
        await settled_at(store)
        await stands_at(patient, (0, 0))  # reservations that it carried out late are undone
        assert isinstance(await patient.reserve(reservation("acme/after", 10_000, None, WINDOW)), Grant)
        await store.close()
        await patient.close()

    asyncio.run(case())


def test_a_settlement_that_was_not_answered_is_repeated_until_it_is_done(server: RedisServer) -> None:
    async def case() -> None:
        patient, store = await opened(server), await opened(server, limit_s=SHORT_S)
        await patient.reserve(reservation("acme/h", 500, None, WINDOW))
        server.signal(signal.SIGSTOP)
        with pytest.raises(StoreError):
            await store.settle("acme/h", 200)
        assert store.unsettled == 1
        server.signal(signal.SIGCONT)
        await stands_at(patient, (200, 0))
        await settled_at(store)
        await store.close()
        await patient.close()

    asyncio.run(case())


def test_a_killed_redis_comes_back_with_what_it_knew(server: RedisServer) -> None:
    async def case() -> None:
        store = await opened(server)
        await store.reserve(reservation("acme/spent", 500, None, WINDOW))
        await store.settle("acme/spent", 400)
        await store.reserve(reservation("acme/held", 300, None, WINDOW))
        await asyncio.to_thread(server.kill)
        with pytest.raises(StoreError):
            await store.settle("acme/held", 250)
        with pytest.raises(StoreError):
            await store.reserve(reservation("acme/new", 100, None, WINDOW))
        await asyncio.to_thread(server.start)
        await stands_at(store, (650, 0))
        await store.close()

    asyncio.run(case())


def test_a_crowd_before_a_stopped_redis_costs_nothing_in_the_end(server: RedisServer) -> None:
    async def case() -> None:
        patient, store = await opened(server), await opened(server, limit_s=SHORT_S)
        server.signal(signal.SIGSTOP)
        answers = await asyncio.gather(
            *(store.reserve(reservation(f"acme/h{number}", 100, None, WINDOW)) for number in range(20)),
            return_exceptions=True,
        )
        assert all(isinstance(answer, StoreError) for answer in answers)
        server.signal(signal.SIGCONT)
        await settled_at(store)
        await stands_at(patient, (0, 0))
        await store.close()
        await patient.close()

    asyncio.run(case())


def test_going_and_coming_back_are_one_line_each(server: RedisServer) -> None:
    async def case() -> None:
        said: list[str] = []
        store = await opened(server, said)
        await asyncio.to_thread(server.kill)
        for number in range(30):
            with pytest.raises(StoreError):
                await store.reserve(reservation(f"acme/h{number}", 100, None, WINDOW))
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
        assert await store.reserve(reservation("acme/h", 100, None, WINDOW)) == Grant(100, 9_900)
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
            task = asyncio.ensure_future(store.reserve(reservation(f"acme/h{number}", 100, None, WINDOW)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await store.settle(f"acme/h{number}", 0)
        await stands_at(store, (0, 0))
        await store.close()

    asyncio.run(case())


def test_a_redis_that_takes_no_writes_is_not_well(server: RedisServer) -> None:
    async def case() -> None:
        store = await opened(server)
        assert await store.balances(()) == []
        await store.close()
        for command in (("maxmemory", "1"), ("maxmemory", "0")):
            client = Redis.from_url(server.url)
            await client.config_set(*command)
            await client.aclose()
            store = await opened(server)
            if command == ("maxmemory", "0"):
                assert await store.balances(()) == []
            else:
                for _ in range(8):
                    with pytest.raises(StoreError):
                        await store.balances(())
            await store.close()

    asyncio.run(case())


@pytest.mark.parametrize(("policy", "warns"), [("noeviction", False), ("allkeys-lru", True), ("volatile-ttl", True)])
def test_a_redis_that_may_drop_budgets_is_warned_of(server: RedisServer, policy: str, warns: bool) -> None:
    async def case() -> None:
        said: list[str] = []
        client = Redis.from_url(server.url)
        await client.config_set("maxmemory-policy", policy)
        store = await opened(server, said)
        await store.close()
        await client.config_set("maxmemory-policy", "noeviction")
        await client.aclose()
        assert [f"its maxmemory-policy is {policy}; set it to noeviction" in line for line in said] == [True] * warns

    asyncio.run(case())
