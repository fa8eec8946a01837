"""A circuit breaker per candidate: a candidate that keeps failing rests before it is tried again."""

from __future__ import annotations

from collections.abc import Callable, Iterable


class Breaker:
    """A breaker that opens after `failures` consecutive failures, for `rest_s` seconds.

    After the rest, one trial attempt at a time may show that the candidate works again.
    """

    __slots__ = ("_failures", "_in_a_row", "_open_until", "_rest_s", "_trial_until")

    def __init__(self, failures: int = 5, rest_s: float = 10.0) -> None:
        self._failures = failures
        self._rest_s = rest_s
        self._in_a_row = 0
        self._open_until = 0.0
        self._trial_until = 0.0

    def allows(self, now: float) -> bool:
        """Return whether an attempt may be made. Changes nothing; `begin` claims the trial."""
        if self._in_a_row < self._failures:
            return True
        return now >= self._open_until and now >= self._trial_until

    def begin(self, now: float) -> None:
        """Note that an attempt starts. In the half-open state this blocks a second attempt, for at most `rest_s`
        seconds.
        """
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
    """The breakers of all candidates. Asking about a healthy candidate costs nothing."""

    def __init__(self, names: Iterable[str]) -> None:
        self._breakers = {name: Breaker() for name in names}
        self._troubled: set[str] = set()

    def at(self, now: float) -> Callable[[str], bool]:
        """Return a function from a candidate's name to whether the candidate may be tried."""
        if not self._troubled:
            return always_well
        return lambda name: name not in self._troubled or self._breakers[name].allows(now)

    def begin(self, name: str, now: float) -> None:
        """Note that an attempt starts."""
        if name in self._troubled:
            self._breakers[name].begin(now)

    def note(self, name: str, now: float, *, well: bool) -> None:
        """Note that an attempt ended. A candidate that answers is healthy, even if it answers that the request is at
        fault.
        """
        if not well:
            self._troubled.add(name)
            self._breakers[name].failed(now)
        elif name in self._troubled:
            self._troubled.discard(name)
            self._breakers[name].succeeded()


def always_well(_: str) -> bool:
    """Return True: a candidate that the client named is tried even while it rests."""
    return True
