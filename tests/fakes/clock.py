"""A clock that a test turns by hand."""

from __future__ import annotations

import asyncio


class HandClock:
    """A clock, in seconds, that stands still until it is turned.

    `now` is what it shows. It can stand in for `time.time`, `time.perf_counter` and `asyncio.sleep`.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def turn(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.now += seconds

    async def sleep(self, seconds: float) -> None:
        """Let so many seconds pass at once; other tasks run meanwhile."""
        await asyncio.sleep(0)
        self.turn(seconds)
