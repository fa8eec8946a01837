"""A provider that speaks OpenAI's chat completions over HTTP."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Callable

from gateway.errors import ConfigError, ProviderError
from gateway.providers.base import Endpoint
from gateway.providers.http_connection import BrokenConnection, Connection, Overdue
from gateway.providers.http_pool import ConnectionPool, Origin
from gateway.providers.http_proxy import Proxy, environment_proxy
from gateway.providers.refusal import read_refusal

LONGEST_ERROR_BYTES = 65_536
ERROR_BODY_S = 1.0
"""Seconds that the body of a refusal may take: the status alone is enough to go on."""
INFLATED = (b"", b"gzip", b"x-gzip", b"deflate")
"""Codings of a reply that are read, although none is asked for."""
LARGEST_PIECE = 1024 * 1024
"""Bytes that one `read` of a compressed reply returns at most."""
EMPTY_STATUSES = frozenset({204, 205})


class OpenAIProvider:
    """Implements `Provider`. Create it inside a running loop. After `close`, exchanges in progress may still finish."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Create the provider. Raises ConfigError for a URL or a header that cannot be sent."""
        self._endpoint = endpoint
        origin = _origin(endpoint)
        proxy = _proxy(endpoint, origin)
        self._pool = ConnectionPool(origin, largest=endpoint.max_connections, connect_s=endpoint.connect_s, proxy=proxy)
        self._loop = asyncio.get_running_loop()
        self._head = _head(endpoint, origin, proxy)
        self._secrets = endpoint.secrets

    async def send(self, body: bytes, request_id: str, *, streamed: bool = True) -> OpenAIExchange:
        endpoint = self._endpoint
        head = b"%sX-Request-Id: %s\r\nContent-Length: %d\r\n\r\n" % (self._head, request_id.encode(), len(body))
        deadline = self._loop.time() + endpoint.total_s
        first_byte_s = endpoint.first_byte_s if streamed else endpoint.total_s
        connection = await self._exchange(head, body, deadline, first_byte_s)
        try:
            if not 200 <= connection.status < 300 or connection.status in EMPTY_STATUSES:
                raise await self._refusal(connection)
            if connection.encoding not in INFLATED:
                raise ProviderError(
                    f"{endpoint.name} compressed its reply as {connection.encoding[:20]!r}, which was not asked for",
                    reason="content_encoding",
                    reached=True,
                )
            first = await self._first_bytes(connection)
        except BaseException:
            if not 400 <= connection.status < 500:  # a server that answers oddly may be about to close
                connection.abort()
            connection.release()
            raise
        if connection.encoding:
            return InflatedExchange(endpoint.name, connection, first)
        return OpenAIExchange(endpoint.name, connection, first)

    async def close(self) -> None:
        self._pool.close()

    async def _exchange(self, head: bytes, body: bytes, deadline: float, first_byte_s: float) -> Connection:
        """Send on a kept connection or a new one, and wait for the reply's headers.

        The request is never sent twice: a connection that closes after it was written to may have delivered the
        request (RFC 9110, 9.2.2).
        """
        name = self._endpoint.name
        try:
            connection = await self._pool.take(deadline)
        except TimeoutError as error:
            raise _timeout(name, error, "connecting took too long", "connect_timeout") from None
        except ssl.SSLError as error:
            raise ProviderError(f"{name}: TLS failed: {error.reason}", reason="tls_failed") from None
        except OSError as error:
            why = error.strerror or "none of its addresses answers"
            raise ProviderError(f"{name}: no connection: {why}", reason="connection_failed") from None
        try:
            await connection.exchange(head, body, first_byte_s, deadline)
        except TimeoutError as error:
            connection.release()
            raise _timeout(name, error, "no first byte in time", "first_byte_timeout", reached=True) from None
        except BrokenConnection as error:
            connection.release()
            raise ProviderError(f"{name}: {error}", reason="connection_failed", reached=error.sent) from None
        except BaseException:
            connection.release()
            raise
        return connection

    async def _first_bytes(self, connection: Connection) -> bytes:
        name = self._endpoint.name
        try:
            first = await connection.read()
            connection.expect_within(self._endpoint.idle_s)
        except TimeoutError as error:
            raise _timeout(name, error, "no first byte in time", "first_byte_timeout", reached=True) from None
        except BrokenConnection as error:
            raise ProviderError(f"{name}: {error}", reason="connection_failed", reached=True) from None
        if not first:
            raise ProviderError(f"{name} sent an empty reply", reason="empty_reply", reached=True)
        return first

    async def _refusal(self, connection: Connection) -> ProviderError:
        endpoint, body = self._endpoint, b""
        try:
            async with asyncio.timeout(ERROR_BODY_S):
                while len(body) < LONGEST_ERROR_BYTES and (data := await connection.read()):
                    body += data
        except (BrokenConnection, TimeoutError):
            pass  # the status is enough
        body = body[:LONGEST_ERROR_BYTES]
        refusal = read_refusal(connection.status, body, connection.retry_headers, secrets=self._secrets)
        status = connection.status
        return refusal.error(f"{endpoint.name} answered {status}", f"http_{status}", status, body)


class OpenAIExchange:
    """Implements `Exchange` over a connection."""

    __slots__ = ("_closed", "_connection", "_first", "_name")

    def __init__(self, name: str, connection: Connection, first: bytes) -> None:
        self._name = name
        self._connection = connection
        self._first = first
        self._closed = False

    async def read(self) -> bytes:
        if self._closed:  # another exchange may use the connection by now
            raise ProviderError(f"{self._name}: read after the exchange was closed", reason="broke_off")
        if self._first:
            first, self._first = self._first, b""
            return first
        try:
            return await self._connection.read()
        except TimeoutError as error:
            raise _timeout(self._name, error, "the reply stalled", "idle_timeout", reached=True) from None
        except BrokenConnection as error:
            raise ProviderError(f"{self._name}: {error}", reason="broke_off", reached=True) from None

    def offer(self, take: Callable[[bytes], bool]) -> None:
        if not self._closed:
            self._connection.taker = take

    @property
    def ended(self) -> bool:
        return not self._first and self._connection.at_its_end

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._connection.release()


class InflatedExchange(OpenAIExchange):
    """An exchange whose reply arrives compressed with gzip or deflate."""

    __slots__ = ("_inflate", "_rest")

    def __init__(self, name: str, connection: Connection, first: bytes) -> None:
        super().__init__(name, connection, first)
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: by its head, gzip or zlib
        self._rest = b""

    async def read(self) -> bytes:
        while True:
            data = self._rest or await super().read()
            if not data:
                if not self._inflate.eof:
                    raise ProviderError(f"{self._name}: compressed data broke off", reason="broke_off", reached=True)
                return b""
            try:
                plain = self._inflate.decompress(data, LARGEST_PIECE)
            except zlib.error as error:
                raise ProviderError(f"{self._name}: {error}", reason="content_encoding", reached=True) from None
            self._rest = self._inflate.unconsumed_tail
            if plain:
                return plain

    def offer(self, take: Callable[[bytes], bool]) -> None:
        """Offer nothing: what arrives is not what is passed on."""

    @property
    def ended(self) -> bool:
        return not self._rest and super().ended


def _origin(endpoint: Endpoint) -> Origin:
    """Return where to send. The path goes before the query, in which some providers keep their version.

    The path may be given whole, as providers show it in their examples.
    """
    base, mark, query = endpoint.base_url.partition("?")
    base = base.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    try:
        return Origin.of(base + "/chat/completions" + mark + query)
    except ValueError as error:  # includes UnicodeError, for an invalid host name
        raise ConfigError(f"providers.{endpoint.name}.base_url cannot be used: {error}") from None


def _proxy(endpoint: Endpoint, origin: Origin) -> Proxy | None:
    """Return the proxy to go through. Raises ConfigError, without the proxy's address, which may hold a password."""
    url = endpoint.proxy or environment_proxy("https" if origin.tls else "http", origin.host)
    if url is None or url == "none":
        return None
    try:
        return Proxy.of(url)
    except ValueError as error:
        where = f"providers.{endpoint.name}.proxy" if endpoint.proxy else "the proxy of the environment"
        raise ConfigError(f"{where} cannot be used: {error}") from None


def _head(endpoint: Endpoint, origin: Origin, proxy: Proxy | None = None) -> bytes:
    """Return the request line and all headers except the per-request ones. The operator's headers replace ours."""
    headers = {
        "host": ("Host", origin.authority),
        "content-type": ("Content-Type", "application/json"),
        "accept": ("Accept", "application/json, text/event-stream"),
        "accept-encoding": ("Accept-Encoding", "identity"),
        "user-agent": ("User-Agent", "loupe"),
        **{name.lower(): (name, value) for name, value in endpoint.headers},
    }
    if endpoint.api_key:
        headers["authorization"] = ("Authorization", f"Bearer {endpoint.api_key.strip()}")
    for name, value in headers.values():
        if not (name.isascii() and name.isprintable() and value.isascii() and value.isprintable()):
            raise ConfigError(f"providers.{endpoint.name}: the header {name!r} cannot be sent: it is not plain ASCII")
    target = origin.path
    if proxy is not None and origin.tls is None:  # then there is no tunnel: the proxy reads the request itself
        target = f"http://{origin.authority}{target}"
        if proxy.authorization:
            headers["proxy-authorization"] = ("Proxy-Authorization", proxy.authorization)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.values())
    return f"POST {target} HTTP/1.1\r\n{lines}".encode("ascii")


def _timeout(name: str, error: TimeoutError, what: str, reason: str, *, reached: bool = False) -> ProviderError:
    if isinstance(error, Overdue):
        return ProviderError(f"{name}: took longer than it may in all", reason="total_timeout", reached=reached)
    return ProviderError(f"{name}: {what}", reason=reason, reached=reached)
