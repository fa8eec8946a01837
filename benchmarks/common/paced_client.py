"""An open-loop load client: a number of requests per second, even if earlier requests are not answered yet.

A latency counts from the moment at which its request was due, so that a server that falls behind cannot hide the delay.
Every reply must be a 200; anything else ends the run with a `LoadError`.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import httptools

from benchmarks.common.load_client import STALLED_S, LoadError

MOST_CONNECTIONS = 256


@dataclass(frozen=True, slots=True)
class PacedLoad:
    """Complete HTTP/1.1 requests, taken in turn: `per_second` of them, at even intervals, for `seconds`."""

    requests: Sequence[bytes]
    per_second: float
    seconds: float


@dataclass(slots=True)
class _Run:
    load: PacedLoad
    done: asyncio.Future[None]
    """Set when the last reply is complete, or when one is wrong."""
    count: int
    idle: deque[_Connection] = field(default_factory=deque)
    due: deque[tuple[float, bytes]] = field(default_factory=deque)
    latencies: list[float] = field(default_factory=list)
    answered: int = 0

    def fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(LoadError(why))


class _Connection(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self._run = run
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._due_at: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._due_at is not None:
            self._run.fail(f"the connection was lost before the reply was complete: {error}")

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._run.fail(f"the reply is no HTTP: {error}")

    def on_message_complete(self) -> None:
        run, status = self._run, self._parser.get_status_code()
        assert self._due_at is not None
        run.latencies.append(time.perf_counter() - self._due_at)
        run.answered += 1
        self._due_at = None
        if status != 200:
            run.fail(f"status {status}")
        elif run.answered == run.count:
            run.done.set_result(None)
        elif run.due:
            self.send(*run.due.popleft())
        else:
            run.idle.append(self)

    def send(self, due_at: float, request: bytes) -> None:
        assert self._transport is not None
        self._due_at = due_at
        self._transport.write(request)

    def close(self) -> None:
        self._due_at = None
        if self._transport is not None:
            self._transport.close()


async def pace(port: int, load: PacedLoad) -> list[float]:
    """Send the load. Returns each request's seconds from due to complete, in order of completion. Raises LoadError."""
    loop = asyncio.get_running_loop()
    run = _Run(load, loop.create_future(), round(load.per_second * load.seconds))
    opened: list[_Connection] = []
    sending = loop.create_task(_send(port, run, opened))
    gc.collect()
    gc.disable()  # a garbage collection here would be measured as the subject's latency
    try:
        async with asyncio.timeout(load.seconds + STALLED_S):
            await run.done
    except TimeoutError:
        raise LoadError(f"{run.count - run.answered} of {run.count} replies have not come") from None
    finally:
        gc.enable()
        sending.cancel()
        for connection in opened:
            connection.close()
    return run.latencies


async def _send(port: int, run: _Run, opened: list[_Connection]) -> None:
    """Send each request when it is due, on an idle connection, else on a new connection."""
    load, loop, began = run.load, asyncio.get_running_loop(), time.perf_counter()
    for number in range(run.count):
        due_at = began + number / load.per_second
        if (early := due_at - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        request = load.requests[number % len(load.requests)]
        if run.idle:
            run.idle.pop().send(due_at, request)
        elif len(opened) < MOST_CONNECTIONS:
            _, connection = await loop.create_connection(lambda: _Connection(run), "127.0.0.1", port)
            opened.append(connection)
            connection.send(due_at, request)
        else:
            run.due.append((due_at, request))
