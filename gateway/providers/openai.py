"""A provider that speaks OpenAI's chat completions over HTTP."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from gateway.errors import ProviderError
from gateway.providers.http1 import BrokenConnection, Connection, ConnectionPool, Origin

PERMANENT = frozenset({400, 413, 415, 422})
"""Answers that another candidate would not change: the request itself is at fault."""
LONGEST_ERROR_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider is and how long to wait for it. Times in seconds.

    `first_byte_s` counts from sending to the reply's first byte, `idle_s` between bytes, `total_s` over all.
    """

    name: str
    base_url: str
    api_key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    connect_s: float = 5.0
    first_byte_s: float = 60.0
    idle_s: float = 60.0
    total_s: float = 600.0
    max_connections: int = 512


class OpenAIProvider:
    """Implements `Provider`. Make it inside a running loop; close it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        origin = Origin.of(endpoint.base_url.rstrip("/") + "/chat/completions")
        self._pool = ConnectionPool(origin, largest=endpoint.max_connections, connect_s=endpoint.connect_s)
        self._loop = asyncio.get_running_loop()
        headers = {
            "Host": origin.authority,
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Accept-Encoding": "identity",
            "User-Agent": "loupe",
            **dict(endpoint.headers),
        }
        if endpoint.api_key:
            headers["Authorization"] = f"Bearer {endpoint.api_key}"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._head = f"POST {origin.path} HTTP/1.1\r\n{lines}".encode("latin-1")

    async def send(self, body: bytes, request_id: str) -> OpenAIExchange:
        endpoint = self._endpoint
        head = b"%sX-Request-Id: %s\r\nContent-Length: %d\r\n\r\n" % (self._head, request_id.encode(), len(body))
        deadline = self._loop.time() + endpoint.total_s
        connection = await self._exchange(head, body, fresh=False)
        try:
            if connection.status != 200:
                raise await self._refusal(connection)
            if connection.encoded:
                raise ProviderError(f"{endpoint.name} compressed its reply unasked", reason="content_encoding")
            first = await self._first_bytes(connection)
            connection.expect_within(endpoint.idle_s, deadline)
        except BaseException:
            connection.release()
            raise
        return OpenAIExchange(endpoint.name, connection, first)

    async def close(self) -> None:
        self._pool.close()

    async def _exchange(self, head: bytes, body: bytes, *, fresh: bool) -> Connection:
        """Send on a kept connection, and once more on a new one if that was closed before it answered anything."""
        name = self._endpoint.name
        try:
            connection = await self._pool.take(fresh=fresh)
        except TimeoutError:
            raise ProviderError(f"{name}: connecting took too long", reason="connect_timeout") from None
        except ssl.SSLError as error:
            raise ProviderError(f"{name}: TLS failed: {error.reason}", reason="tls_failed") from None
        except OSError as error:
            raise ProviderError(f"{name}: no connection: {error.strerror}", reason="connection_failed") from None
        used = connection.used
        try:
            await connection.exchange(head, body, self._endpoint.first_byte_s)
        except TimeoutError:
            connection.release()
            raise ProviderError(f"{name}: no first byte in time", reason="first_byte_timeout") from None
        except BrokenConnection as error:
            connection.release()
            if used and error.fresh and not fresh:
                return await self._exchange(head, body, fresh=True)
            raise ProviderError(f"{name}: {error}", reason="connection_failed") from None
        except BaseException:
            connection.release()
            raise
        return connection

    async def _first_bytes(self, connection: Connection) -> bytes:
        name = self._endpoint.name
        try:
            first = await connection.read()
        except TimeoutError:
            raise ProviderError(f"{name}: no first byte in time", reason="first_byte_timeout") from None
        except BrokenConnection as error:
            raise ProviderError(f"{name}: {error}", reason="connection_failed") from None
        if not first:
            raise ProviderError(f"{name} sent an empty reply", reason="empty_reply")
        return first

    async def _refusal(self, connection: Connection) -> ProviderError:
        body = b""
        try:
            while len(body) < LONGEST_ERROR_BYTES and (data := await connection.read()):
                body += data
        except (BrokenConnection, TimeoutError):
            pass  # its status says enough
        return ProviderError(
            f"{self._endpoint.name} answered {connection.status}",
            reason=f"http_{connection.status}",
            status=connection.status,
            body=body,
            permanent=connection.status in PERMANENT,
        )


class OpenAIExchange:
    """Implements `Exchange` over a connection."""

    __slots__ = ("_closed", "_connection", "_first", "_name")

    def __init__(self, name: str, connection: Connection, first: bytes) -> None:
        self._name = name
        self._connection = connection
        self._first = first
        self._closed = False

    async def read(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        try:
            return await self._connection.read()
        except TimeoutError:
            raise ProviderError(f"{self._name}: the reply stalled", reason="idle_timeout") from None
        except BrokenConnection as error:
            raise ProviderError(f"{self._name}: {error}", reason="broke_off") from None

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._connection.release()
