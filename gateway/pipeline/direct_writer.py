"""The fast path of a stream: chunks go straight to the reply, and the meter reads them as they pass."""

from __future__ import annotations

from typing import Protocol

from gateway.pipeline.state import RequestState
from gateway.providers.stream_meter import StreamMeter


class DirectWriter:
    """A receiver that is offered a stream's chunks; it sends and counts the chunks that it takes."""

    __slots__ = ("_meter", "_outlet", "_state")

    def __init__(self, state: RequestState, meter: StreamMeter, outlet: Outlet) -> None:
        self._state = state
        self._meter = meter
        self._outlet = outlet

    def __call__(self, data: bytes) -> bool:
        """Take a chunk if it is whole events of content and the client keeps up. Returns whether it took the chunk."""
        outlet = self._outlet
        if outlet.is_paused:
            return False
        timer = self._state.timer
        since = timer()
        plain = self._meter.feed_plain(data)
        if plain is None:
            return False
        outlet.pass_on(plain)
        self._state.waited_s -= timer() - since  # the relay counts all of its wait as waiting for the provider
        return True


class Outlet(Protocol):
    """The client's side of a stream that has started."""

    @property
    def is_paused(self) -> bool:
        """True while the client reads more slowly than the gateway writes."""
        ...

    def pass_on(self, data: bytes) -> None:
        """Write a part of the body. Call it only while the outlet is not paused."""
        ...
