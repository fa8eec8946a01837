"""A pool of connections to one origin: kept while usable, never more than allowed, given out in the order of asking."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.providers.http_connection import Connection, Overdue
from gateway.providers.http_proxy import Proxy, open_tunnel

KEEP_IDLE_S = 30.0
"""Seconds after which an unused connection is no longer trusted: the other side may be about to close it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The scheme, host and port of a URL, and its path."""

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str) -> Origin:
        """Parse a URL. Raises ValueError for a URL that cannot be sent to."""
        parts = urlsplit(url)
        if refused := unsent_part(url):
            raise ValueError(refused)
        secure = parts.scheme == "https"
        host = (parts.hostname or "").encode("idna").decode()
        if not host:
            raise ValueError("it does not name a host")
        try:
            port = parts.port or (443 if secure else 80)
        except ValueError:  # whose text would show what stands there, such as half a password
            raise ValueError("its port is not a number up to 65535") from None
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        if not (path.isascii() and path.isprintable()) or " " in path:
            raise ValueError("its path is not percent-encoded")
        return cls(host, port, path or "/", ssl.create_default_context() if secure else None)

    @property
    def authority(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.tls else 80) else f"{name}:{self.port}"


def unsent_part(url: str) -> str:
    """Return why a URL has a part that would not be sent, without that part, which may be a secret; else empty."""
    if "@" in urlsplit(url).netloc:
        return "it holds a user name or password, which is not sent: use api_key_env or headers"
    return "it holds a fragment (#), which is not sent" if "#" in url else ""


class ConnectionPool:
    """Connections to one origin, at most `largest` at once. The most recently used connection is used first."""

    def __init__(self, origin: Origin, *, largest: int, connect_s: float, proxy: Proxy | None = None) -> None:
        self._origin = origin
        self._proxy = proxy
        self._largest = largest
        self._connect_s = connect_s
        self._idle: list[Connection] = []
        self._open = 0
        self._queue: deque[asyncio.Future[Connection | None]] = deque()
        """Callers that wait for a place. While one waits, no connection is idle: a released connection goes to the
        longest-waiting caller, so that a new caller cannot overtake it.
        """
        self._loop = asyncio.get_running_loop()
        self._closed = False

    async def take(self, deadline: float) -> Connection:
        """Return a connection to use and then release.

        Raises TimeoutError, OSError or ssl.SSLError; Overdue when no place became free by `deadline` (loop time).
        """
        if self._closed:
            raise _closing()
        while self._idle:
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
                if self._is_fit(handed):
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
        """Forget an idle connection that the other side closed. The user of a connection in use
        gives it back instead.
        """
        if connection in self._idle:
            self._idle.remove(connection)
            self._open -= 1

    def close(self) -> None:
        """Close the idle connections and reject the waiting callers. A connection in use closes when it is released."""
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
        return connection.is_silent and self._loop.time() - connection.idle_since < KEEP_IDLE_S

    async def _turn(self, deadline: float) -> Connection | None:
        """Wait for a place. Return the connection in that place, or None if the place is empty."""
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
        """Open a new connection, in a place that is already counted."""
        origin, left = self._origin, deadline - self._loop.time()
        try:
            async with asyncio.timeout(min(self._connect_s, left)):
                connection = await self._opened(origin, self._proxy)
        except BaseException as error:
            self._pass_on(None)
            if isinstance(error, TimeoutError) and left < self._connect_s:
                raise Overdue from None  # a place became free just before the deadline
            raise
        return connection

    async def _opened(self, origin: Origin, proxy: Proxy | None) -> Connection:
        if proxy is not None and origin.tls is not None:
            connection = Connection(self)
            tunnel = await open_tunnel(proxy, origin.host, origin.port)
            try:
                secured = await self._loop.start_tls(tunnel, connection, origin.tls, server_hostname=origin.host)
            except BaseException:
                tunnel.abort()
                raise
            assert secured is not None
            connection.connection_made(secured)
            return connection
        host, port = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
        _, connection = await self._loop.create_connection(lambda: Connection(self), host, port, ssl=origin.tls)
        return connection

    def _pass_on(self, connection: Connection | None) -> None:
        """Give a place, and its connection if it has one, to the caller that has waited longest."""
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
