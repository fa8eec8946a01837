"""A circuit breaker per candidate: one that keeps failing rests before it is tried again."""

from __future__ import annotations


class Breaker:
    """Opens after `failures` failures in a row, for `rest_s` seconds; then one attempt at a time may prove it well."""

    __slots__ = ("_failures", "_in_a_row", "_open_until", "_rest_s", "_trial_until")

    def __init__(self, failures: int = 5, rest_s: float = 10.0) -> None:
        self._failures = failures
        self._rest_s = rest_s
        self._in_a_row = 0
        self._open_until = 0.0
        self._trial_until = 0.0

    def allows(self, now: float) -> bool:
        """Whether an attempt may be made. Asks only; `begin` takes the trial."""
        if self._in_a_row < self._failures:
            return True
        return now >= self._open_until and now >= self._trial_until

    def begin(self, now: float) -> None:
        """An attempt starts: while the breaker is half open no second one does, for `rest_s` at most."""
        if self._in_a_row >= self._failures:
            self._trial_until = now + self._rest_s

    def succeeded(self) -> None:
        self._in_a_row = 0
        self._trial_until = 0.0

    def failed(self, now: float) -> None:
        self._in_a_row += 1
        self._trial_until = 0.0
        if self._in_a_row >= self._failures:
            self._open_until = now + self._rest_s
