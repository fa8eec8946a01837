"""A progress bar on the terminal: one line that is drawn over; where there is no terminal, one line at the end."""

from __future__ import annotations

import sys
import time

_WIDTH = 24
_EVERY_S = 0.1


class ByteBar:
    """Shows how much of a file has come. Fits `gateway.cli.download.Progress`; writes to standard error."""

    def __init__(self) -> None:
        self._drawn = 0.0

    def __call__(self, name: str, done: int, total: int | None) -> None:
        whole = done == total
        if whole or (sys.stderr.isatty() and time.monotonic() - self._drawn >= _EVERY_S):
            self._drawn = time.monotonic()
            start = "\r" if sys.stderr.isatty() else ""
            print(f"{start}{bar(name, done, total)}", end="\n" if whole else "", file=sys.stderr, flush=True)


def bar(name: str, done: int, total: int | None) -> str:
    """`name [######----] 12.3 of 24.3 MB`, or the megabytes alone where the whole is not known."""
    if not total:
        return f"{name} {done / 1e6:.1f} MB"
    filled = _WIDTH * done // total
    return f"{name} [{'#' * filled}{'-' * (_WIDTH - filled)}] {done / 1e6:.1f} of {total / 1e6:.1f} MB"
