"""The fast path of a stream: chunks go straight to the reply, and the meter reads them in passing."""

from __future__ import annotations

from typing import Protocol

from gateway.pipeline.state import RequestState
from gateway.providers.stream_meter import StreamMeter


class DirectWriter:
    """Offered what comes of a stream; what it takes is sent and counted."""

    __slots__ = ("_meter", "_outlet", "_state")

    def __init__(self, state: RequestState, meter: StreamMeter, outlet: Outlet) -> None:
        self._state = state
        self._meter = meter
        self._outlet = outlet

    def __call__(self, data: bytes) -> bool:
        """Whether it took a chunk: whole events of content, and the client not behind."""
        outlet = self._outlet
        if outlet.is_paused:
            return False
        timer = self._state.timer
        since = timer()
        plain = self._meter.feed_plain(data)
        if plain is None:
            return False
        outlet.pass_on(plain)
        self._state.waited_s -= timer() - since  # the relay takes all of its wait for the provider's
        return True


class Outlet(Protocol):
    """The client's side of a stream that was begun."""

    @property
    def is_paused(self) -> bool:
        """Whether the client reads more slowly than it is written to."""
        ...

    def pass_on(self, data: bytes) -> None:
        """A part of the body, while the outlet is not paused."""
        ...
