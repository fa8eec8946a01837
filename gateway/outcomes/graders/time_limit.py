"""A limit on the time that a piece of work may take on the main thread, whatever it does: a regular expression, say."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class OutOfTime(Exception):
    """The work was cut off."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises OutOfTime out of the block when it takes longer. On the main thread only; Windows has no such limit."""
    if sys.platform == "win32":
        yield
        return
    before = signal.signal(signal.SIGALRM, _cut_off)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _cut_off(_number: int, _frame: FrameType | None) -> None:
    raise OutOfTime
