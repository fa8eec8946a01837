"""The ASGI side of a request: reads the body within limits, sends the reply, notices when the client leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from functools import partial
from typing import Any

from starlette.requests import Request

from gateway.api.server import REPLY, ReplyWriter
from gateway.errors import BodyTooLarge, InvalidRequest, RequestError
from gateway.pipeline.state import Header

_NONE: Mapping[str, Any] = {}
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ClientHangUp(Exception):
    """The client hung up before its body was complete."""


class AsgiSink:
    """Implements `gateway.pipeline.relay.Sink` over one ASGI request."""

    __slots__ = ("_receive", "_reply", "_send", "client_left", "complete", "started")

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._reply: ReplyWriter | None = scope.get("extensions", _NONE).get(REPLY)
        """The reply itself, if our own server runs the app; with another server, ASGI messages are sent."""
        self.started = False
        self.complete = False
        self.client_left = False

    async def read_body(self, headers: Mapping[bytes, bytes], limit: int) -> bytes:
        """Return the whole body. Raises BodyTooLarge as soon as it is known to exceed `limit` bytes, and ClientHangUp.

        Raises InvalidRequest for a bad Content-Length and for a compressed body.
        """
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit():
            raise InvalidRequest(f"Content-Length: {declared[:40]!r} is not a number")
        if int(declared) > limit:
            raise _too_large(limit)
        if headers.get(b"content-encoding", b"identity").strip().lower() not in (b"identity", b""):
            raise InvalidRequest("the body must not be compressed", param="Content-Encoding", status=415)
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientHangUp
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in this task; cancel it when the client leaves before the reply is complete."""
        task = asyncio.current_task()
        assert task is not None
        if self._reply is None:
            return await self._run_watched(task, work)
        self._reply.client_left = partial(self._left, task)
        try:
            await work
        finally:
            self.complete = True
            self._reply.client_left = None  # breaks the reference cycle between the reply and this sink
        return None

    async def _run_watched(self, task: asyncio.Task[Any], work: Coroutine[Any, Any, None]) -> None:
        """Do the same as `run` with a server where only `receive` tells that the client has left."""
        watching = asyncio.ensure_future(self._watch(task))
        try:
            await work
        finally:
            self.complete = True
            watching.cancel()

    async def start(self, status: int, content_type: bytes, headers: list[Header], length: int | None) -> None:
        self.started = True
        whole = [(b"content-type", content_type), *headers]
        if length is not None:
            whole.append((b"content-length", b"%d" % length))
        if self._reply is not None:
            self._reply.begin(status, whole)
        else:
            await self._send({"type": "http.response.start", "status": status, "headers": whole})

    async def write(self, data: bytes, *, last: bool = False) -> None:
        if last:
            self.complete = True
        if self._reply is not None:
            if self._reply.is_paused:
                await self._reply.drained()
            self._reply.write(data, more=not last)
        else:
            await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    @property
    def outlet(self) -> ReplyWriter | None:
        return self._reply

    async def refuse(self, error: RequestError, headers: list[Header]) -> None:
        body = json.dumps(error.shown()).encode()
        extra = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in error.headers]
        await self.start(error.status, b"application/json", [*headers, *extra], len(body))
        await self.write(body, last=True)

    async def _watch(self, task: asyncio.Task[Any]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left(task)

    def _left(self, task: asyncio.Task[Any]) -> None:
        if not self.complete:
            self.client_left = True
            task.cancel()


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is over the limit of {limit} bytes")


async def small_body(request: Request, limit: int) -> bytes:
    """Return the whole body. Raises BodyTooLarge once it exceeds `limit` bytes."""
    raw = b""
    async for part in request.stream():
        raw += part
        if len(raw) > limit:
            raise BodyTooLarge(f"the body is over the limit of {limit} bytes")
    return raw


def no_json(error: Exception) -> InvalidRequest:
    """Build the 400 error for a body that is not valid JSON."""
    return InvalidRequest(f"the body is not valid JSON: {error}"[:300], code="invalid_json")
