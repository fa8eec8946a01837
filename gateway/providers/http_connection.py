"""An HTTP/1.1 connection: POST a finished body and read the reply as it arrives. `http_pool` keeps the connections.

It is hand-written for a measured reason: with aiohttp instead, the gateway needs a third more processor time for a text
request and half as much again for a stream (see `CONTRIBUTING.md`). It does only what a provider needs: one origin,
POST, keep-alive, TLS, `read` with back-pressure, one timer per exchange. No redirects, no cookies, no compression.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Protocol, cast

import httptools

HIGH_WATER = 1024 * 1024
"""Bytes that may wait to be read; with more, reading from the provider pauses."""
LONGEST_HEAD = 256 * 1024
"""Bytes that may arrive before a reply's status and headers are complete, interim replies included."""


_NONE: dict[bytes, bytes] = {}


class BrokenConnection(Exception):
    """The connection failed or the reply was not HTTP. `sent` is False if nothing of the request was written."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class Overdue(TimeoutError):
    """The time limit of the whole exchange has passed."""


class Keeper(Protocol):
    """An owner of connections, which is told when a connection is released or lost."""

    def give_back(self, connection: Connection, reusable: bool) -> None: ...
    def lost(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self, pool: Keeper) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._parser = httptools.HttpResponseParser(self)  # the parser resets itself after each message
        self._chunks: list[bytes] = []
        self.taker: Callable[[bytes], bool] | None = None
        """While `read` waits, the bytes of the body are offered to this function first."""
        self.idle_since = 0.0
        self.used = False
        self.status: int
        self.complete: bool
        self._paused: bool
        self._reset()
        self.complete = True  # no reply is expected before a request is sent

    async def exchange(self, head: bytes, body: bytes, first_byte_s: float, deadline: float) -> None:
        """Send a request and wait for the reply's headers.

        Raises BrokenConnection, TimeoutError after `first_byte_s` seconds, and Overdue at `deadline` (loop time).
        """
        self._reset()
        transport = self._transport
        if transport is None:
            raise BrokenConnection("the connection is closed", sent=False)
        self._deadline = deadline
        self._watch(min(first_byte_s, deadline - self._loop.time()))
        transport.write(head + body if len(body) < 65_536 else head)
        if len(body) >= 65_536:
            transport.write(body)
        while self.status == 0:  # `read` raises the errors that occur after the headers
            if self._error is not None:
                raise self._error
            await self._news()

    async def read(self) -> bytes:
        """Return the bytes of the body that arrived since the last call; wait for some; empty at the body's end.

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
        """From now on, fail the exchange when no bytes arrive for `idle_s` seconds.

        Raises TimeoutError if a time limit had already passed.
        """
        if isinstance(self._error, TimeoutError):
            raise self._error
        self._idle_s = idle_s
        self._last = self._loop.time()
        if not self.complete:
            self._watch(min(idle_s, self._deadline - self._last))

    def release(self) -> None:
        """End the exchange: keep the connection if its reply was read to the end, else close it."""
        self.taker = None
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
    def at_its_end(self) -> bool:
        """True when the whole reply has arrived and was read."""
        return self.complete and not self._chunks

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_silent(self) -> bool:
        """True if nothing has arrived on an unused connection.

        What arrives there is the end of the connection, which the loop may not have seen yet. Asking the kernel matters
        because a request that was written to a connection is not sent again.
        """
        if self._transport is None or self._transport.is_closing():
            return False
        asked = select.poll()
        asked.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not asked.poll(0)

    def _reset(self) -> None:
        self._chunks.clear()
        self.taker = None
        self._buffered = 0
        self._paused = False
        self._error: Exception | None = None
        self._sized = False
        self._closes = False
        self._head_size = 0
        self._idle_s = 0.0
        self._deadline = 0.0
        self._last = 0.0
        self.status = 0
        self.complete = False
        self.retry_headers: dict[bytes, bytes] = _NONE
        """`retry-after` and `retry-after-ms`, if the reply has them."""
        self.encoding = b""
        """How the body is compressed, in lower case; empty if it is not."""

    def _news(self) -> asyncio.Future[None]:
        """Return a future that is done when bytes have arrived or an error has occurred."""
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
            last = now if self._paused else self._last  # while paused, the provider waits for us
            left = min(last + self._idle_s - now, left)
            if left > 0.001:
                self._watch(left)
                return
        self._fail(Overdue() if overdue else TimeoutError())
        self.abort()  # so that a reader that is always behind reaches the error

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(
            asyncio.Transport, transport
        )  # uvloop's transport works as one without inheriting from it

    def data_received(self, data: bytes) -> None:
        if self.complete:  # unrequested bytes must not be read as the next reply
            self.abort()
            return
        if self._idle_s:
            self._last = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.complete:
                self._fail(BrokenConnection(f"the reply is not valid HTTP: {error}"))
            self.abort()
        if self.status:
            if not self._is_taken() or self.complete:
                self._wake()
        else:
            self._head_size += len(data)
            if self._head_size > LONGEST_HEAD:
                self._fail(BrokenConnection(f"headers of more than {LONGEST_HEAD} bytes"))
                self.abort()
        if self._buffered > HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _is_taken(self) -> bool:
        """Offer the waiting bytes to `taker`; return True if it took them, so that no reader has to wake up."""
        if self.taker is None or self._waiter is None or not self._chunks or self._error is not None:
            return False
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        if not self.taker(data):
            return False
        self._chunks.clear()
        self._buffered = 0
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self.status and not self._sized and error is None and self._error is None:
            self.complete = True  # a body without a length ends with its connection
        if not self.complete:
            self._fail(BrokenConnection(repr(error) if error else "closed early"))
        self._closes = True
        self._wake()
        self._pool.lost(self)

    # httptools

    def on_message_begin(self) -> None:
        if self.complete:  # caught in `data_received`, which cuts the connection
            raise BrokenConnection("more than one reply")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-length" or name == b"transfer-encoding":
            self._sized = True
        elif name == b"content-encoding":
            encoding = value.strip().lower()
            self.encoding = b"" if encoding == b"identity" else encoding
        elif name.startswith(b"retry-after"):
            self.retry_headers = {**self.retry_headers, name: value}

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 or status == 101:  # 101 was not requested, and no reply follows it
            self.status = status
        else:
            self._sized = False
            self.encoding = b""

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)
        self._buffered += len(data)

    def on_message_complete(self) -> None:
        if self.status:
            self.complete = True
            self._closes = self._closes or not self._parser.should_keep_alive()
