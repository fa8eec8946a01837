"""A pooled HTTP/1.1 client for one origin: POST a finished body, read the reply as it comes.

Ours because it was measured: with aiohttp in its place the gateway takes a third more processor time for a text
request and half as much again for a stream (see `CONTRIBUTING.md`). It does only what a provider needs: one origin,
POST, keep-alive, TLS, `read` with back-pressure, one timer an exchange. No redirects, no cookies, no compression, no
proxy.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

HIGH_WATER = 1024 * 1024
"""Bytes that wait to be read before the provider is made to wait."""
LONGEST_HEAD = 256 * 1024
"""Bytes that may come before a reply's status and headers are complete, interim replies included."""
KEEP_IDLE_S = 30.0
"""An unused connection is not trusted longer than this: the other side may be about to close it."""


class BrokenConnection(Exception):
    """The connection failed or the reply was no HTTP. `fresh` says that nothing of the reply had come."""

    def __init__(self, message: str, *, fresh: bool) -> None:
        super().__init__(message)
        self.fresh = fresh


class Overdue(TimeoutError):
    """The time for the exchange as a whole is up."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a URL, and its path."""

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str) -> Origin:
        """Raises ValueError for a URL that nothing can be sent to."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        host = (parts.hostname or "").encode("idna").decode()
        if not host:
            raise ValueError("it names no host")
        port = parts.port or (443 if secure else 80)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        if not (path.isascii() and path.isprintable()) or " " in path:
            raise ValueError("its path is not percent-encoded")
        return cls(host, port, path or "/", ssl.create_default_context() if secure else None)

    @property
    def authority(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.tls else 80) else f"{name}:{self.port}"


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._parser = httptools.HttpResponseParser(self)  # it starts over by itself after each message
        self._chunks: list[bytes] = []
        self.idle_since = 0.0
        self.used = False
        self.status: int
        self.complete: bool
        self._paused: bool
        self._reset()
        self.complete = True  # no reply is due before a request was sent

    async def exchange(self, head: bytes, body: bytes, first_byte_s: float, deadline: float) -> None:
        """Send a request and wait for the reply's headers.

        Raises BrokenConnection, TimeoutError after `first_byte_s` seconds, and Overdue at `deadline` (loop time).
        """
        self._reset()
        transport = self._transport
        if transport is None:
            raise BrokenConnection("the connection is closed", fresh=True)
        self._deadline = deadline
        self._watch(min(first_byte_s, deadline - self._loop.time()))
        transport.write(head + body if len(body) < 65_536 else head)
        if len(body) >= 65_536:
            transport.write(body)
        while self.status == 0:  # what went wrong after the headers is for `read` to say
            if self._error is not None:
                raise self._error
            await self._news()

    async def read(self) -> bytes:
        """What has come of the body since the last call; waits for some; empty at its end.

        Raises BrokenConnection when the body breaks off, TimeoutError when it stalls, Overdue at the deadline.
        """
        while not self._chunks:
            if self.complete:
                return b""
            if self._error is not None:
                raise self._error
            await self._news()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        if self._paused and self._transport is not None:
            self._paused = False
            self._last = self._loop.time()
            self._transport.resume_reading()
        self._buffered = 0
        return data

    def expect_within(self, idle_s: float) -> None:
        """From here, fail the exchange when nothing comes for `idle_s`. Raises TimeoutError if time was up before."""
        if isinstance(self._error, TimeoutError):
            raise self._error
        self._idle_s = idle_s
        self._last = self._loop.time()
        if not self.complete:
            self._watch(min(idle_s, self._deadline - self._last))

    def release(self) -> None:
        """End the exchange: keep the connection when its reply was read to the end, else cut it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at_its_end = self.complete and not self._paused and self._error is None
        reusable = at_its_end and not self._closes and self._transport is not None
        if reusable:
            self.used = True
        else:
            self.abort()
        self._pool.give_back(self, reusable)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def _reset(self) -> None:
        self._chunks.clear()
        self._buffered = 0
        self._paused = False
        self._error: Exception | None = None
        self._sized = False
        self._closes = False
        self._got_any = False
        self._head_size = 0
        self._idle_s = 0.0
        self._deadline = 0.0
        self._last = 0.0
        self.status = 0
        self.complete = False
        self.encoded = False
        """Whether the body is compressed, which was not asked for."""

    def _news(self) -> asyncio.Future[None]:
        """Done when something has come, or gone wrong."""
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        self._wake()

    def _watch(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        if self.complete:
            return
        now = self._loop.time()
        left = self._deadline - now
        overdue = left <= 0.001
        if self._idle_s:
            last = now if self._paused else self._last  # while paused, it is we who make the provider wait
            left = min(last + self._idle_s - now, left)
            if left > 0.001:
                self._watch(left)
                return
        self._fail(Overdue() if overdue else TimeoutError())
        self.abort()  # so that a reader who is always behind comes to the error

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its bases

    def data_received(self, data: bytes) -> None:
        if self.complete:  # nobody asked: it must not pass for the next reply
            self.abort()
            return
        if self._idle_s:
            self._last = self._loop.time()
        self._got_any = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.complete:
                self._fail(BrokenConnection(f"no HTTP: {error}", fresh=False))
            self.abort()
        if self.status:
            self._wake()
        else:
            self._head_size += len(data)
            if self._head_size > LONGEST_HEAD:
                self._fail(BrokenConnection(f"headers of more than {LONGEST_HEAD} bytes", fresh=False))
                self.abort()
        if self._buffered > HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self.status and not self._sized and error is None and self._error is None:
            self.complete = True  # a body without a length ends with its connection
        if not self.complete:
            self._fail(BrokenConnection(repr(error) if error else "closed early", fresh=not self._got_any))
        self._closes = True
        self._wake()
        self._pool.lost(self)

    # httptools

    def on_message_begin(self) -> None:
        if self.complete:  # caught in `data_received`, which cuts the connection
            raise BrokenConnection("more than one reply", fresh=False)

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-length" or name == b"transfer-encoding":
            self._sized = True
        elif name == b"content-encoding":
            self.encoded = value.strip().lower() not in (b"", b"identity")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 or status == 101:  # nobody asked to switch protocols, and no reply comes after it
            self.status = status
        else:
            self._sized = self.encoded = False

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)
        self._buffered += len(data)

    def on_message_complete(self) -> None:
        if self.status:
            self.complete = True
            self._closes = self._closes or not self._parser.should_keep_alive()


class ConnectionPool:
    """Connections to one origin, at most `largest` at once; the most recently used first."""

    def __init__(self, origin: Origin, *, largest: int, connect_s: float) -> None:
        self._origin = origin
        self._largest = largest
        self._connect_s = connect_s
        self._idle: list[Connection] = []
        self._open = 0
        self._queue: deque[asyncio.Future[Connection | None]] = deque()
        """Who waits for a place. While somebody does, none is idle: it is handed on, so that nobody pushes in."""
        self._loop = asyncio.get_running_loop()
        self._closed = False

    async def take(self, deadline: float, *, fresh: bool = False) -> Connection:
        """A connection to use and then release: a `fresh` one was never used before.

        Raises TimeoutError, OSError or ssl.SSLError; Overdue when none came free by `deadline` (loop time).
        """
        if self._closed:
            raise _closing()
        while self._idle and not fresh:
            connection = self._idle.pop()
            if self._is_fit(connection):
                return connection
            self._open -= 1
            connection.abort()
        if self._open < self._largest:
            self._open += 1
        elif self._idle:
            self._idle.pop(0).abort()
        else:
            handed = await self._turn(deadline)
            if handed is not None:
                if self._is_fit(handed) and not fresh:
                    return handed
                handed.abort()
        return await self._connect(deadline)

    def give_back(self, connection: Connection, reusable: bool) -> None:
        if reusable and self._closed:
            connection.abort()
            reusable = False
        if reusable:
            connection.idle_since = self._loop.time()
        self._pass_on(connection if reusable else None)

    def lost(self, connection: Connection) -> None:
        """An idle connection was closed by the other side; one in use is given back by its user."""
        if connection in self._idle:
            self._idle.remove(connection)
            self._open -= 1

    def close(self) -> None:
        """Close what is idle and turn away who waits. What is in use is closed when it is released."""
        self._closed = True
        for connection in self._idle:
            connection.abort()
        self._open -= len(self._idle)
        self._idle.clear()
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_exception(_closing())

    def _is_fit(self, connection: Connection) -> bool:
        return connection.is_open and self._loop.time() - connection.idle_since < KEEP_IDLE_S

    async def _turn(self, deadline: float) -> Connection | None:
        """Wait for a place, and get it with the connection that is in it, if one is."""
        turn: asyncio.Future[Connection | None] = self._loop.create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout_at(deadline):
                try:
                    return await turn
                except asyncio.CancelledError:
                    if turn.cancelled():
                        with suppress(ValueError):
                            self._queue.remove(turn)
                    elif turn.exception() is None:
                        self._pass_on(turn.result())
                    raise
        except TimeoutError:
            raise Overdue from None

    async def _connect(self, deadline: float) -> Connection:
        """A new connection, in a place that is already counted."""
        origin = self._origin
        try:
            async with asyncio.timeout(min(self._connect_s, deadline - self._loop.time())):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self), origin.host, origin.port, ssl=origin.tls
                )
        except BaseException:
            self._pass_on(None)
            raise
        return connection

    def _pass_on(self, connection: Connection | None) -> None:
        """Give a place, and the connection in it if there is one, to who waits longest."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        if connection is None:
            self._open -= 1
        else:
            self._idle.append(connection)


def _closing() -> OSError:
    return OSError(errno.ECONNABORTED, "its connections are being closed")
