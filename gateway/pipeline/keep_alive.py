"""The comments that keep a streaming client's connection alive while nothing comes."""

from __future__ import annotations

import asyncio
import json

from gateway.errors import RequestError
from gateway.pipeline.direct_writer import Outlet
from gateway.pipeline.relay import Sink
from gateway.pipeline.state import Header, RequestState
from gateway.providers.stream_meter import StreamMeter

PING_S = 15.0
"""Silence, in seconds, after which a comment is sent, as the standard advises
(https://html.spec.whatwg.org/multipage/server-sent-events.html#authoring-notes).
"""
PING = b": ping\n\n"
_LOOKS = 3


class KeepAliveSink:
    """Implements `gateway.pipeline.relay.Sink` over another sink, to which it sends `: ping` in times of silence.

    A ping starts the reply, with status 200, but commits no candidate: to the relay the reply has not started, so that
    another candidate may still serve it. A refusal after a ping is an error event.
    """

    __slots__ = ("_every_s", "_has_begun", "_looks", "_loop", "_progress", "_sink", "_state", "_task", "_timer")

    def __init__(self, sink: Sink, state: RequestState, every_s: float) -> None:
        """Begin to watch. Call `stop` at the end of the request. Needs a running loop."""
        self._sink = sink
        self._state = state
        self._every_s = every_s
        self._has_begun = False
        self._looks = 0
        self._progress: tuple[int, int] = (0, 0)
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(every_s / _LOOKS, self.look)

    @property
    def client_left(self) -> bool:
        return self._sink.client_left

    @property
    def started(self) -> bool:
        return self._has_begun

    @property
    def outlet(self) -> Outlet | None:
        return self._sink.outlet

    async def start(self, status: int, content_type: bytes, headers: list[Header], length: int | None) -> None:
        self._has_begun = True
        if not self._sink.started:
            await self._sink.start(status, content_type, headers, length)

    async def write(self, data: bytes, *, last: bool = False) -> None:
        self._looks = 0
        if last:
            self.stop()
        await self._sink.write(data, last=last)

    async def refuse(self, error: RequestError, headers: list[Header]) -> None:
        self.stop()
        self._has_begun = True
        if not self._sink.started:
            return await self._sink.refuse(error, headers)
        return await self._sink.write(b"data: " + json.dumps(error.shown()).encode() + b"\n\n", last=True)

    def stop(self) -> None:
        """Send no more pings. Safe to call repeatedly."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def look(self) -> None:
        """Look whether something has come since the last look, three times per `every_s`; after three times, ping."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._every_s / _LOOKS, self.look)
        meter = self._state.reply
        progress = meter.progress if isinstance(meter, StreamMeter) else (0, 0)
        self._looks = self._looks + 1 if progress == self._progress else 0
        self._progress = progress
        if self._looks >= _LOOKS and (self._task is None or self._task.done()):
            self._looks = 0
            self._task = self._loop.create_task(self._ping())

    async def _ping(self) -> None:
        sink = self._sink
        if not sink.started:
            await sink.start(200, b"text/event-stream", [(b"x-request-id", self._state.request_id.encode())], None)
        outlet = sink.outlet
        if outlet is None or not outlet.is_paused:  # a client that is behind does not wait for us
            await sink.write(PING)
