"""A circuit breaker per candidate: one that keeps failing rests before it is tried again."""

from __future__ import annotations

from collections.abc import Callable, Iterable


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


class Health:
    """The breakers of all candidates; those that are well cost nothing to ask about."""

    def __init__(self, names: Iterable[str]) -> None:
        self._breakers = {name: Breaker() for name in names}
        self._troubled: set[str] = set()

    def at(self, now: float) -> Callable[[str], bool]:
        """Whether a candidate may be tried, as a question to ask of its name."""
        if not self._troubled:
            return always_well
        return lambda name: name not in self._troubled or self._breakers[name].allows(now)

    def begin(self, name: str, now: float) -> None:
        """An attempt starts."""
        if name in self._troubled:
            self._breakers[name].begin(now)

    def note(self, name: str, now: float, *, well: bool) -> None:
        """An attempt ended. A candidate that answers is well, even if its answer is that the request is at fault."""
        if not well:
            self._troubled.add(name)
            self._breakers[name].failed(now)
        elif name in self._troubled:
            self._troubled.discard(name)
            self._breakers[name].succeeded()


def always_well(_: str) -> bool:
    """What is asked about a candidate that was named by the client: it is tried even while it rests."""
    return True
