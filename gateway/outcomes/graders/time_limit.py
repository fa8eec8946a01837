"""A limit on the time that work on the main thread may take, whatever the work is, such as a regular expression."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class OutOfTime(Exception):
    """The work was stopped at its time limit."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Limit the time of the block. Raises OutOfTime inside the block.

    Works on the main thread only; on Windows there is no limit.
    """
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
