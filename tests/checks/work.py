"""How much a call does, counted: the same on a busy machine as on an idle one."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any


@dataclass(frozen=True, slots=True)
class Work:
    """What one call did.

    Attributes:
        lines: lines of Python that were run, each as often as it was run.
        calls: functions that were called, Python's and C's.
        peak_bytes: the most memory that was held at once beyond what was held before (NumPy's arrays are counted).
    """

    lines: int
    calls: int
    peak_bytes: int


def work_of(call: Callable[[], object]) -> Work:
    """Run `call` three times on this thread: lines, calls and memory are counted one at a time."""
    return Work(_lines_of(call), calls_of(call), _peak_of(call))


def _lines_of(call: Callable[[], object]) -> int:
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def calls_of(call: Callable[[], object]) -> int:
    """Functions that `call` calls, Python's and C's."""
    count = 0

    def profile(frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(before)
    return count


def _peak_of(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
