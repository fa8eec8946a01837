"""uvicorn's HTTP protocol, changed so that a reply's head is sent together with the first bytes of its body.

uvicorn writes the head separately: one more system call per reply, and one more packet, which wakes the client twice.
The app also finds the reply in the scope's extensions, so that the hot path need not wrap every chunk into a message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from uvicorn._types import ASGI3Application, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

REPLY = "loupe.reply"
"""The name of the ASGI extension."""


class OnePieceProtocol(HttpToolsProtocol):
    """The HTTP protocol for `uvicorn.Config(http=...)`."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        reply = ReplyWriter(cycle)
        cycle.send = reply.send  # type: ignore[method-assign]
        cast(dict[str, Any], cycle.scope)["extensions"] = {REPLY: reply}
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.cycle is not None and self.cycle.disconnected:
            reply: ReplyWriter | None = cast(dict[str, Any], self.cycle.scope).get("extensions", {}).get(REPLY)
            if reply is not None and reply.client_left is not None:
                reply.client_left()


class ReplyWriter:
    """A writer that replaces the cycle's own ASGI `send` for one request, and updates the cycle's state in the same
    way.
    """

    __slots__ = ("_bodiless", "_cycle", "_head", "client_left")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self.client_left: Callable[[], None] | None = None
        """Called when the client hangs up before the reply is complete."""
        self._head = b""
        self._bodiless = False

    async def send(self, message: ASGISendEvent) -> None:
        """Send an ASGI message.

        Raises RuntimeError for messages out of order, headers that break the head, and a body of the wrong length.
        """
        if self.is_paused:
            await self.drained()
        cycle = self._cycle
        if cycle.disconnected:
            return
        if not cycle.response_started:
            if message["type"] != "http.response.start":
                raise RuntimeError(f"a reply cannot begin with {message['type']!r}")
            self.begin(message["status"], list(message.get("headers", ())))
            return
        if message["type"] != "http.response.body" or cycle.response_complete:
            raise RuntimeError(f"unexpected {message['type']!r} in a reply")
        self.write(message.get("body", b""), more=message.get("more_body", False))

    @property
    def is_paused(self) -> bool:
        """True while the client reads more slowly than the app writes: wait for `drained`."""
        cycle = self._cycle
        return cycle.flow.write_paused and not cycle.disconnected

    async def drained(self) -> None:
        await self._cycle.flow.drain()

    def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Take status and headers, which are sent with the first bytes of the body. Raises
        RuntimeError as `send` does.
        """
        cycle = self._cycle
        if cycle.disconnected:
            return
        self._head = self._head_of(status, headers)
        cycle.response_started = True
        cycle.waiting_for_100_continue = False

    def write(self, body: bytes, *, more: bool) -> None:
        """Write a part of the body. Raises RuntimeError as `send` does."""
        if not self._cycle.disconnected:
            self._write(body, more)

    def pass_on(self, data: bytes) -> None:
        """Write a non-empty part of a stream that has started; most of a stream is written this way."""
        cycle = self._cycle
        if not cycle.disconnected:
            cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _head_of(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        cycle = self._cycle
        lines = [STATUS_LINE[status][:-2]]
        length: int | None = None
        closes = False
        for name, value in (*cycle.default_headers, *headers):
            lines.append(name + b": " + value)
            if name == b"content-length":
                length = int(value)
            elif name == b"connection" and b"close" in value.lower():
                closes = True
        if not cycle.keep_alive and not closes:
            lines.append(b"connection: close")
        bodiless = cycle.scope["method"] == "HEAD" or status in (204, 304)
        chunked = length is None and not bodiless
        if chunked:
            lines.append(b"transfer-encoding: chunked")
        head = b"\r\n".join(lines)
        if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1 or b"\0" in head:
            raise RuntimeError("a header holds a line break")
        self._bodiless = bodiless
        cycle.keep_alive = cycle.keep_alive and not closes
        cycle.expected_content_length, cycle.chunked_encoding = length or 0, chunked
        return head + b"\r\n\r\n"

    def _write(self, body: bytes, more: bool) -> None:
        cycle = self._cycle
        parts = [self._head] if self._head else []
        self._head = b""
        if cycle.chunked_encoding:
            if body:
                parts += (b"%x\r\n" % len(body), body, b"\r\n")
            if not more:
                parts.append(b"0\r\n\r\n")
        elif not self._bodiless:
            cycle.expected_content_length -= len(body)
            if cycle.expected_content_length < 0 or (cycle.expected_content_length and not more):
                raise RuntimeError("the reply is not as long as its content-length says")
            parts.append(body)
        if parts:
            cycle.transport.write(b"".join(parts))
        if not more:
            cycle.response_complete = True
            self._part_from(cycle)
            cycle.message_event.set()
            if not cycle.keep_alive:
                cycle.transport.close()
            cycle.on_response()

    def _part_from(self, cycle: RequestResponseCycle) -> None:
        """Remove the references from the cycle and its scope to this reply.

        They would keep all three alive until the garbage collector runs, which took a tenth of a request's time.
        """
        cycle.__dict__.pop("send", None)
        cast(dict[str, Any], cycle.scope)["extensions"] = {}
