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


class CellBar:
    """Shows how many cells of a table were asked, what that cost, and how long the rest may take. Standard error."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._began = time.monotonic()
        self._drawn = 0.0
        self._line = ""

    def __call__(self, done: int, spent_usd: str, retries: int) -> None:
        passed = time.monotonic() - self._began
        self._line = (
            cells_bar(done, self._total, passed) + f", {spent_usd} USD" + (f", {retries} retried" * bool(retries))
        )
        if sys.stderr.isatty() and time.monotonic() - self._drawn >= _EVERY_S:
            self._drawn = time.monotonic()
            print(f"\r{self._line}\x1b[K", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """The last line, which stays."""
        if self._line:
            start, rest = ("\r", "\x1b[K") if sys.stderr.isatty() else ("", "")
            print(f"{start}{self._line}{rest}", file=sys.stderr, flush=True)


def cells_bar(done: int, total: int, passed_s: float) -> str:
    """`asking [######----] 12 of 24 cells, 0:05 left`; what is left is said once some are done."""
    filled = _WIDTH * done // total if total else _WIDTH
    line = f"asking [{'#' * filled}{'-' * (_WIDTH - filled)}] {done:,} of {total:,} cells"
    if not 0 < done < total:
        return line
    minutes, seconds = divmod(round(passed_s / done * (total - done)), 60)
    return f"{line}, {minutes}:{seconds:02} left"
