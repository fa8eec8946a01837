"""The ledger in Redis, shared by several machines. Every operation is one script and one round trip (`ledger.lua`).

Redis may be slow, away or stopped at any moment. An operation that does not answer within `limit_s` fails with
StoreError; a reservation whose answer was lost is undone, and a settlement is repeated until it is known to be done.
After a few consecutive failures the store fails at once, and tries again every `rest_s`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from gateway.billing.reservation import Balance, Grant, OverLimit, Reservation
from gateway.billing.window import Window
from gateway.errors import StoreError
from gateway.routing.circuit_breaker import Breaker
from gateway.stores.lease_clock import LeaseClock

KEPT_MS = 86_400_000
"""Milliseconds for which a settled reservation is remembered, so that settling it again does nothing."""
LARGEST_AMOUNT = 2**53
"""The largest amount in nanodollars, because Lua's numbers are doubles."""
REPEAT_S = 0.25
PROBED_S = 5.0
"""Seconds for which a write that succeeded shows that Redis takes writes."""
LARGEST_BACKLOG = 100_000
"""Settlements that may wait for Redis to come back; beyond this, reservations expire and are charged in full."""


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """The address of Redis (`redis://` or `rediss://`) and its time limits, in seconds.

    `start_s` limits the first answer, `limit_s` each later one.
    """

    url: str
    limit_s: float = 0.05
    rest_s: float = 0.5
    failures: int = 3
    connections: int = 32
    prefix: str = "loupe"
    start_s: float = 2.0


class RedisStore:
    """Implements `BudgetStore`. Machines that share a Redis must have the same time.

    `clock` gives seconds since the epoch. `announce` is called once when Redis goes away and once when it is back.
    `monotonic` gives the seconds that measure the pause of `rest_s`, and `steady` the seconds by which a jump of
    `clock` is noticed (`LeaseClock`).
    """

    def __init__(
        self,
        options: RedisSettings,
        clock: Callable[[], float],
        announce: Callable[[str], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._announce = announce
        self._gone = False
        self._clock = clock
        self._monotonic = monotonic
        self._lease_clock = LeaseClock(clock, steady)
        self._breaker = Breaker(options.failures, options.rest_s)
        self._script = files("gateway.stores.redis").joinpath("ledger.lua").read_text(encoding="utf-8")
        self._digest = ""
        self._reserving: dict[str, asyncio.Task[Grant | OverLimit]] = {}
        self._settling: set[asyncio.Task[bool]] = set()
        self._backlog: dict[str, tuple[int, int]] = {}
        """Settlements that Redis has not confirmed: reservation -> (charge, tokens)."""
        self._repeating: asyncio.Task[None] | None = None
        self._closed = False
        self._probe_at = -math.inf

    @property
    def unsettled(self) -> int:
        """The number of settlements that Redis has not confirmed."""
        return len(self._backlog)

    async def open(self) -> None:
        """Connect. Raises StoreError when Redis does not answer, because a service must not start
        without its ledger.
        """
        options = self._options
        pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
            options.url,
            max_connections=options.connections,
            timeout=options.limit_s,
            socket_timeout=None,  # we enforce the limit: a late answer must not be read as the next one's
            socket_connect_timeout=options.limit_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis(connection_pool=pool)
        try:
            async with asyncio.timeout(max(options.limit_s, options.start_s)):
                self._digest = await self._redis.script_load(self._script)
        except (RedisError, OSError, TimeoutError) as error:
            await self._redis.aclose()
            raise StoreError(f"Redis does not answer: {error or type(error).__name__}") from error
        await self._warn_of_eviction()

    async def close(self) -> None:
        """Finish what is in progress, try once more to settle the backlog, and disconnect."""
        if self._closed:
            return
        await self._finish()
        if self._repeating is not None:
            self._repeating.cancel()
            await asyncio.gather(self._repeating, return_exceptions=True)
        await self._settle_backlog()
        self._closed = True
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def reserve(self, reservation: Reservation) -> Grant | OverLimit:
        _check_amount(reservation.max_cost)
        task = asyncio.ensure_future(self._reserve(reservation))
        self._reserving[reservation.id] = task  # a cancelled caller must not leave it half done
        task.add_done_callback(lambda done: self._reserved(reservation.id, done))
        return await asyncio.shield(task)

    async def settle(self, hold_id: str, charge: int, tokens: int = 0) -> bool:
        _check_amount(charge)
        task = asyncio.ensure_future(self._settle_after_reserving(hold_id, charge, tokens))
        self._settling.add(task)
        task.add_done_callback(self._settled)
        return await asyncio.shield(task)

    async def renew(self, hold_ids: Sequence[str], ttl_s: float) -> None:
        by_tenant: dict[str, list[str]] = {}
        for hold_id in hold_ids:
            by_tenant.setdefault(_tenant(hold_id), []).append(hold_id)
        until = self._clock() + ttl_s
        for tenant, ids in by_tenant.items():
            await self._run([self._key(tenant, "h", hold_id) for hold_id in ids], ["renew", until])

    async def balances(self, windows: Sequence[Window]) -> list[Balance]:
        # only earlier requests: under load something is always in progress
        await asyncio.gather(*self._reserving.values(), *self._settling, return_exceptions=True)
        found: list[Balance] = []
        for window in windows:
            parts = self._parts(window)
            keys = [self._key(_tenant(window.key), "due"), *parts]
            answer = await self._run(keys, ["stand", self._ended_by(self._clock()), KEPT_MS, len(parts)])
            found.append(Balance(window, int(answer[1]), int(answer[2])))
        if not windows:
            await self._probe()
        return found

    async def _probe(self) -> None:
        """Check that Redis takes writes: one that is out of memory, or a replica, still answers a ping."""
        now = self._monotonic()
        if now < self._probe_at:
            await self._within_limit(self._redis.ping)
            return
        key = f"{self._options.prefix}:{{probe}}"
        await self._within_limit(lambda: self._redis.set(key, 1, ex=60))
        self._probe_at = now + PROBED_S

    async def _warn_of_eviction(self) -> None:
        """Warn if Redis may drop keys when its memory is full, for budgets would begin anew (a policy other than
        `noeviction`: https://redis.io/docs/latest/develop/reference/eviction/).
        """
        try:
            async with asyncio.timeout(max(self._options.limit_s, self._options.start_s)):
                policy = (await self._redis.info("memory")).get("maxmemory_policy", "noeviction")
        except (RedisError, OSError, TimeoutError):  # a user without the right to ask
            return
        if policy != "noeviction":
            what = f"Redis may drop what was spent when its memory is full: its maxmemory-policy is {policy}"
            self._announce(f"{what}; set it to noeviction")

    async def _reserve(self, reservation: Reservation) -> Grant | OverLimit:
        tenant = _tenant(reservation.windows[0].key if reservation.windows else reservation.id)
        keys = [self._key(_tenant(reservation.id), "h", reservation.id), self._key(tenant, "due")]
        now = self._clock()
        self._lease_clock.made(reservation.ttl_s)
        values: list[Any] = ["reserve", now, reservation.ttl_s, KEPT_MS, self._ended_by(now)]
        values += [reservation.max_cost, reservation.min_budget, reservation.tokens, reservation.requests]
        for window in reservation.windows:
            parts = self._parts(window)
            keys += parts
            kept_ms = "" if window.forget_at is None else max(int((window.forget_at - now) * 1000), 1)
            values += [window.unit, window.limit, 2 if window.separate else int(window.soft), len(parts), kept_ms]
        try:
            answer = await self._run(keys, values)
        except _NoAnswer:
            self._repeat(reservation.id, 0, 0)  # it may have been granted, or may still be
            raise
        if answer[0] == b"refused":
            return OverLimit(reservation.windows[int(answer[1])], int(answer[2]), int(answer[3]))
        if answer[0] == b"made":
            return Grant(int(answer[1]), None)
        remaining = int(answer[2]) if answer[2] else None
        exceeded = dict.fromkeys(reservation.windows[int(number)].key for number in answer[3:])
        return Grant(int(answer[1]), remaining, tuple(exceeded))

    def _reserved(self, hold_id: str, task: asyncio.Task[Grant | OverLimit]) -> None:
        self._reserving.pop(hold_id, None)
        if not task.cancelled():
            task.exception()  # mark as retrieved, because the caller may be gone

    async def _settle_after_reserving(self, hold_id: str, charge: int, tokens: int) -> bool:
        under_way = self._reserving.get(hold_id)
        if under_way is not None:
            await asyncio.gather(under_way, return_exceptions=True)
        values = ["settle", charge, tokens, KEPT_MS, 0]
        try:
            answer = await self._run([self._key(_tenant(hold_id), "h", hold_id)], values)
        except StoreError:
            self._repeat(hold_id, charge, tokens)
            raise
        return bool(answer[1])

    def _settled(self, task: asyncio.Task[bool]) -> None:
        self._settling.discard(task)
        if not task.cancelled():
            task.exception()

    async def _finish(self) -> None:
        """Wait until all operations in progress have finished."""
        while under_way := [*self._reserving.values(), *self._settling]:
            await asyncio.gather(*under_way, return_exceptions=True)

    def _repeat(self, hold_id: str, charge: int, tokens: int) -> None:
        if len(self._backlog) < LARGEST_BACKLOG:
            self._backlog.setdefault(hold_id, (charge, tokens))
        if self._repeating is None or self._repeating.done():
            self._repeating = asyncio.ensure_future(self._repeat_for_ever())

    async def _repeat_for_ever(self) -> None:
        while self._backlog:
            await asyncio.sleep(REPEAT_S)
            await self._settle_backlog()

    async def _settle_backlog(self) -> None:
        for hold_id, (charge, tokens) in list(self._backlog.items()):
            values = ["settle", charge, tokens, KEPT_MS, 1]
            try:
                await self._run([self._key(_tenant(hold_id), "h", hold_id)], values)
            except StoreError:
                return
            self._backlog.pop(hold_id, None)

    async def _run(self, keys: Sequence[str], values: Sequence[Any]) -> list[Any]:
        async def evaluate() -> Any:
            try:
                return await self._redis.evalsha(self._digest, len(keys), *keys, *values)
            except NoScriptError:  # Redis was restarted
                return await self._redis.eval(self._script, len(keys), *keys, *values)

        answer: list[Any] = await self._within_limit(evaluate)
        return answer

    async def _within_limit(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        now = self._monotonic()
        if self._closed:
            raise StoreError("the store is closed")
        if not self._breaker.allows(now):
            raise StoreError("Redis does not answer")
        self._breaker.begin(now)
        try:
            async with asyncio.timeout(self._options.limit_s):
                answer = await ask()
        except (RedisError, OSError, TimeoutError) as error:
            now = self._monotonic()
            self._probe_at = -math.inf
            self._breaker.failed(now)
            if not self._gone and not self._breaker.allows(now):
                self._gone = True
                self._announce(f"Redis does not answer: {str(error) or type(error).__name__}")
            raise _NoAnswer(f"Redis does not answer: {str(error) or type(error).__name__}") from error
        self._breaker.succeeded()
        if self._gone:
            self._gone = False
            self._announce("Redis answers again")
        return answer

    def _ended_by(self, now: float) -> float:
        """Return the time up to which a lease that ended is charged: now, but none just after the clock jumped."""
        return now if self._lease_clock.may_charge() else -1.0

    def _parts(self, window: Window) -> list[str]:
        tenant = _tenant(window.key)
        return [self._key(tenant, "w", key) for key in (window.key, *window.earlier)]

    def _key(self, tenant: str, kind: str, name: str = "") -> str:
        return f"{self._options.prefix}:{{{tenant}}}:{kind}" + (f":{name}" if name else "")


class _NoAnswer(StoreError):
    """An error after which it is not known whether the operation was carried out."""


def _tenant(name: str) -> str:
    """Return the tenant of a window or reservation: the text before the first `/`."""
    return name.partition("/")[0]


def _check_amount(nanodollars: int) -> None:
    if not 0 <= nanodollars <= LARGEST_AMOUNT:
        raise StoreError(f"{nanodollars} nanodollars is not an amount that can be stored")
