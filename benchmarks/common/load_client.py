"""A bounded closed-loop load client: a number of connections, each with one request at a time, until a count or a time.

Every reply must be a 200 and is read to its end; anything else ends the run with a `LoadError`.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import httptools

STALLED_S = 30.0
KEPT_BYTES = 256
"""The length of a body's end that is kept, to check that the body is complete, and to show a wrong body."""


class LoadError(Exception):
    """A reply was wrong or did not come."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load to send: complete HTTP/1.1 requests, taken in turn, and the bytes with which each reply's body must end.

    Requests are sent until `count` of them are sent or `seconds` are over, whichever is first, but at least one on
    every connection.
    """

    requests: Sequence[bytes]
    ending: bytes
    connections: int
    count: int
    seconds: float


@dataclass(slots=True)
class Measured:
    """The measured seconds of each request, in the order in which requests ended, and of the whole load."""

    latencies: list[float] = field(default_factory=list)
    first_bytes: list[float] = field(default_factory=list)
    elapsed: float = 0.0

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.elapsed


class _Run:
    """The state that the connections of one load share."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.measured = Measured()
        self.issued = 0
        self.open = load.connections
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.began = time.perf_counter()
        self.deadline = self.began + load.seconds

    def next_request(self) -> bytes | None:
        late = self.issued >= self.load.connections and time.perf_counter() >= self.deadline
        if late or self.issued >= self.load.count:
            return None
        request = self.load.requests[self.issued % len(self.load.requests)]
        self.issued += 1
        return request

    def fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(LoadError(why))

    def finished(self) -> None:
        self.open -= 1
        if self.open == 0 and not self.done.done():
            self.done.set_result(None)


class _Connection(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self._run = run
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._sent_at = 0.0
        self._first_at = 0.0
        self._tail = b""
        self._complete = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports have no base class

    def start(self) -> None:
        """Send the first request. The time to connect is not measured."""
        self._send_next()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if not self._complete:
            self._run.fail(f"the connection was lost before the reply was complete: {error}")

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._run.fail(f"the reply is no HTTP: {error}")

    def on_body(self, data: bytes) -> None:
        if not self._first_at:
            self._first_at = time.perf_counter()
        self._tail = (self._tail + data)[-KEPT_BYTES:] if len(data) < KEPT_BYTES else data[-KEPT_BYTES:]

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        run = self._run
        status = self._parser.get_status_code()
        if status != 200 or not self._tail.endswith(run.load.ending):
            run.fail(f"status {status}, body ending in {self._tail!r}")
            return
        run.measured.latencies.append(now - self._sent_at)
        run.measured.first_bytes.append(self._first_at - self._sent_at)
        self._send_next()

    def _send_next(self) -> None:
        request = self._run.next_request()
        if request is None or self._transport is None:
            self._complete = True
            self._run.finished()
            return
        self._first_at = 0.0
        self._tail = b""
        self._sent_at = time.perf_counter()
        self._transport.write(request)


async def drive(port: int, load: Load) -> Measured:
    """Send the load to 127.0.0.1:`port`. Raises LoadError when a reply is wrong or does not come in time."""
    loop = asyncio.get_running_loop()
    run = _Run(load)
    opened = [
        await loop.create_connection(lambda: _Connection(run), "127.0.0.1", port) for _ in range(load.connections)
    ]
    gc.collect()
    gc.disable()  # a garbage collection here would be measured as the subject's latency
    try:
        run.began = time.perf_counter()
        run.deadline = run.began + load.seconds
        for _, connection in opened:
            connection.start()
        async with asyncio.timeout(load.seconds + STALLED_S):
            await run.done
        run.measured.elapsed = time.perf_counter() - run.began
    except TimeoutError:
        raise LoadError(f"{run.open} of {load.connections} connections wait for a reply that does not come") from None
    finally:
        gc.enable()
        for transport, _ in opened:
            transport.close()
    return run.measured
