"""The way through an HTTP proxy: a CONNECT tunnel for https, an absolute request line for http (RFC 9110, 9.3.6)."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

LONGEST_ANSWER = 16 * 1024
"""Bytes that a proxy may answer to CONNECT before its empty line."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy's address. `authorization` is the value of `Proxy-Authorization`, or empty."""

    host: str
    port: int
    authorization: str = ""

    @classmethod
    def of(cls, url: str) -> Proxy:
        """Parse `http://[user:password@]host:port`. Raises ValueError, whose message does not repeat the URL."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme != "http":
            raise ValueError(f"a proxy is reached by http://, not {parts.scheme}://")
        if not parts.hostname:
            raise ValueError("it does not name a host")
        authorization = ""
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + base64.b64encode(user.encode()).decode()
        try:
            port = parts.port or 80
        except ValueError:  # whose text would show what stands there, such as half a password
            raise ValueError("its port is not a number up to 65535") from None
        return cls(parts.hostname, port, authorization)


def environment_proxy(scheme: str, host: str) -> str | None:
    """Return the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY name for a host, unless NO_PROXY excludes the host."""
    proxies = getproxies()
    found = proxies.get(scheme) or proxies.get("all")
    return found if found and not proxy_bypass(host) else None


async def open_tunnel(proxy: Proxy, host: str, port: int) -> asyncio.Transport:
    """Connect to the proxy and have it connect to `host`. Returns the transport, on which `host` speaks second.

    Raises OSError if the proxy cannot be reached or refuses.
    """
    loop = asyncio.get_running_loop()
    transport, answer = await loop.create_connection(_Answer, proxy.host, proxy.port)
    try:
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {name} HTTP/1.1", f"Host: {name}"]
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        transport.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii"))
        head = await answer.head
        status = head.split(b" ", 2)[1:2]
        if not status or not status[0].startswith(b"2"):
            line = head.split(b"\r\n", 1)[0].decode("latin-1")[:100]
            raise OSError(None, f"the proxy refused the tunnel: {line}")
    except BaseException:
        transport.abort()
        raise
    return transport


class _Answer(asyncio.Protocol):
    """The proxy's answer to CONNECT, up to its empty line."""

    def __init__(self) -> None:
        self.head: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._seen = b""

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if self.head.done():
            return
        if b"\r\n\r\n" in self._seen:
            self.head.set_result(self._seen)
        elif len(self._seen) > LONGEST_ANSWER:
            self.head.set_exception(OSError(None, "the proxy's answer has no end"))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.head.done():
            self.head.set_exception(OSError(None, f"the proxy closed the connection{f': {error}' if error else ''}"))
