"""A provider's end of raw TCP: each test scripts what it says, byte by byte, on connections that are kept.

Like `tests/e2e/harness/scripted_provider.py`, but in the test's own loop, and a connection lives as long as the script
lets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from gateway.providers.base import Endpoint
from gateway.providers.openai import OpenAIProvider

PATIENCE_S = 60.0


class Ask:
    """One request as it came, and the connection to answer it on."""

    def __init__(self, head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        self.body = body
        self._reader = reader
        self._writer = writer

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def until_left(self) -> None:
        """Silent until the peer hangs up."""
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(self._reader.read(), PATIENCE_S) == b"", "the peer said more"

    def hang_up(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Break the connection off: the peer sees a reset, not an end."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    @property
    def has_hung_up(self) -> bool:
        return self._writer.is_closing()


Script = Callable[[Ask], Awaitable[None]]


class RawServer:
    """Answers every request with `script`; `asks` and `connections` count what came."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.port = 0
        self.scheme = "http"
        self.asks: list[Ask] = []
        self.connections = 0
        self.open_connections = 0
        self._news = asyncio.Condition()
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/v1"

    async def until(self, is_met: Callable[[], bool]) -> None:
        """Wait until something is so that a request or a connection's beginning or end makes so."""
        async with self._news, asyncio.timeout(PATIENCE_S):
            await self._news.wait_for(is_met)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        self.open_connections += 1
        try:
            await self._tell()
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                while not writer.is_closing():
                    ask = await _next_ask(reader, writer)
                    self.asks.append(ask)
                    await self._tell()
                    await self.script(ask)
        finally:
            self.open_connections -= 1
            self._serving.discard(task)
            writer.close()
            await self._tell()

    async def stop(self) -> None:
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


@asynccontextmanager
async def raw_server(
    script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[RawServer]:
    """A server on a free port while the block runs."""
    server = RawServer(script)
    listener = await asyncio.start_server(server.serve, host, 0, limit=2**26, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    server.scheme = "https" if tls else "http"
    try:
        yield server
    finally:
        listener.close()
        await server.stop()


@asynccontextmanager
async def provider_at(url: str, **more: Any) -> AsyncIterator[OpenAIProvider]:
    """An OpenAIProvider on this URL while the block runs; `more` are fields of its Endpoint."""
    provider = OpenAIProvider(Endpoint("pool", url, **more))
    try:
        yield provider
    finally:
        await provider.close()


async def until_so(is_met: Callable[[], bool]) -> None:
    """Ask again and again until it is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_met():
            await asyncio.sleep(0.001)


def sized(body: bytes, status: int = 200, *headers: bytes) -> bytes:
    """A reply of stated length."""
    return _head(status, headers, b"Content-Length: %d" % len(body)) + body


def chunked(*pieces: bytes, status: int = 200, headers: tuple[bytes, ...] = ()) -> bytes:
    """A reply in HTTP's chunked coding, to its end."""
    return _head(status, headers, b"Transfer-Encoding: chunked") + b"".join(map(chunk, pieces)) + b"0\r\n\r\n"


def endless(body: bytes, status: int = 200, *headers: bytes) -> bytes:
    """A reply that ends with its connection."""
    return _head(status, headers, b"Server: raw") + body


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def say(data: bytes) -> Script:
    async def script(ask: Ask) -> None:
        await ask.say(data)

    return script


def say_and_hang_up(data: bytes) -> Script:
    async def script(ask: Ask) -> None:
        await ask.say(data)
        ask.hang_up()

    return script


def say_and_wait(data: bytes) -> Script:
    """These bytes, then silence until the peer hangs up."""

    async def script(ask: Ask) -> None:
        if data:
            await ask.say(data)
        await ask.until_left()

    return script


def in_turn(*scripts: Script) -> Script:
    """One script a request; the last stays."""
    left = list(scripts)

    async def script(ask: Ask) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(ask)

    return script


def _head(status: int, headers: tuple[bytes, ...], framing: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 %d X" % status, *headers, framing, b"", b""])


async def _next_ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Ask:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    return Ask(head, await reader.readexactly(int(length.partition(b":")[2])), reader, writer)
