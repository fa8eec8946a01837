"""uvicorn's HTTP protocol, but a reply's head leaves together with the first bytes of its body.

uvicorn writes the head by itself: a system call more for every reply, and a packet more that wakes the client twice.
"""

from __future__ import annotations

from typing import Any, cast

from uvicorn._types import ASGI3Application, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle


class OnePieceProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=...)`."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        async def answer(scope: Any, receive: Any, _: Any) -> None:
            await app(scope, receive, Reply(cycle).send)

        super()._start_asgi_task(cycle, cast(ASGI3Application, answer))


class Reply:
    """What ASGI calls `send`, for one request. Stands in for the cycle's own and keeps the cycle's state as it does."""

    __slots__ = ("_bodiless", "_cycle", "_head")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._head = b""
        self._bodiless = False

    async def send(self, message: ASGISendEvent) -> None:
        """Raises RuntimeError for messages out of order, headers that break the head, a body of the wrong length."""
        cycle = self._cycle
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        if not cycle.response_started:
            if message["type"] != "http.response.start":
                raise RuntimeError(f"a reply can not begin with {message['type']!r}")
            self._head = self._begin(message["status"], list(message.get("headers", ())))
            cycle.response_started = True
            cycle.waiting_for_100_continue = False
            return
        if message["type"] != "http.response.body" or cycle.response_complete:
            raise RuntimeError(f"unexpected {message['type']!r} in a reply")
        self._write(message.get("body", b""), message.get("more_body", False))

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
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
            cycle.message_event.set()
            if not cycle.keep_alive:
                cycle.transport.close()
            cycle.on_response()
