"""A circuit breaker per candidate: a candidate that keeps failing rests before it is tried again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from gateway.errors import ProviderError

RATE_LIMITED = 429
RATE_LIMIT_REST_S = 5.0
"""Seconds that a candidate rests after a rate limit whose provider does not say for how long."""
LONGEST_RATE_LIMIT_REST_S = 3_600.0
ACCOUNT_REST_S = 30.0
"""Seconds that a candidate rests after its provider refused the operator's account; twice as long each time."""
LONGEST_ACCOUNT_REST_S = 600.0
MAX_DOUBLINGS = 8
LONGEST_WHY = 300


class Breaker:
    """A breaker that opens after `failures` consecutive failures, for `rest_s` seconds.

    After the rest, one trial attempt at a time may show that the candidate works again.
    """

    __slots__ = ("_failures", "_in_a_row", "_open_until", "_rest_s", "_told_until", "_trial_until", "rested_at")

    def __init__(self, failures: int = 5, rest_s: float = 10.0) -> None:
        self._failures = failures
        self._rest_s = rest_s
        self._in_a_row = 0
        self._open_until = 0.0
        self._told_until = 0.0
        self.rested_at = -math.inf
        """When the last rest began that a refusal asked for."""
        self._trial_until = 0.0

    def allows(self, now: float) -> bool:
        """Return whether an attempt may be made. Changes nothing; `begin` claims the trial."""
        if now < self._told_until:
            return False
        if self._in_a_row < self._failures:
            return True
        return now >= self._open_until and now >= self._trial_until

    def begin(self, now: float) -> None:
        """Note that an attempt starts. In the half-open state this blocks a second attempt, for at most `rest_s`
        seconds.
        """
        if self._in_a_row >= self._failures:
            self._trial_until = now + self._rest_s

    def answered(self) -> None:
        """Note that an attempt ended in a refusal, which says neither that the candidate is well nor that it is not."""
        self._trial_until = 0.0

    def pause(self, now: float, seconds: float) -> None:
        """Allow nothing for so many seconds from now; after that all attempts, because nothing is wrong."""
        self._told_until = max(self._told_until, now + seconds)
        self.rested_at = now
        self._trial_until = 0.0

    def rest(self, now: float, seconds: float) -> None:
        """Open for so many seconds from now, whatever came before; after that one trial at a time."""
        self._in_a_row = max(self._in_a_row, self._failures)
        self._open_until = max(self._open_until, now + seconds)
        self.rested_at = now
        self._trial_until = 0.0

    def left_s(self, now: float) -> float:
        """Return the seconds until an attempt may be made."""
        opens = self._told_until if self._in_a_row < self._failures else max(self._open_until, self._told_until)
        return max(opens - now, 0.0)

    def succeeded(self) -> None:
        self._in_a_row = 0
        self._told_until = 0.0
        self._trial_until = 0.0

    def failed(self, now: float) -> None:
        self._in_a_row += 1
        self._trial_until = 0.0
        if self._in_a_row >= self._failures:
            self._open_until = now + self._rest_s


class Rest(NamedTuple):
    """Why a candidate rests, in the words of its last failure, and for how many seconds more."""

    fault: str | None
    why: str
    left_s: float


class Health:
    """The breakers of all candidates. Asking about a healthy candidate costs nothing."""

    def __init__(self, names: Iterable[str]) -> None:
        self._breakers = {name: Breaker() for name in names}
        self._troubled: set[str] = set()
        self._why: dict[str, tuple[str | None, str]] = {}
        self._account_rests: Counter[str] = Counter()

    def at(self, now: float) -> Callable[[str], bool]:
        """Return a function from a candidate's name to whether the candidate may be tried."""
        if not self._troubled:
            return always_well
        return lambda name: name not in self._troubled or self._breakers[name].allows(now)

    def begin(self, name: str, now: float) -> None:
        """Note that an attempt starts."""
        if name in self._troubled:
            self._breakers[name].begin(now)

    def served(self, name: str, began: float) -> None:
        """Note that an attempt ended well. One that `began` before the candidate's rest does not end it."""
        if name in self._troubled and began >= self._breakers[name].rested_at:
            self._troubled.discard(name)
            self._breakers[name].succeeded()
            self._why.pop(name, None)
            self._account_rests.pop(name, None)

    def failed(self, name: str, now: float, error: ProviderError) -> None:
        """Note that an attempt failed.

        A refusal that blames the request says nothing of the candidate's health. After a rate limit the candidate rests
        as long as its provider asks. After a fault of the operator's (a wrong key, no credit, no such model) it rests
        longer each time, because only a change on the operator's side will help; the attempt after a rest is the probe.
        """
        breaker = self._breakers[name]
        if error.blames_request or (error.fault == "rate_limit" and error.status != RATE_LIMITED):
            if name in self._troubled:
                breaker.answered()
            return
        self._troubled.add(name)
        self._why[name] = (error.fault, str(error)[:LONGEST_WHY])
        if error.fault == "account":
            if breaker.left_s(now) <= 0:  # else an attempt that began before the rest, which says nothing new
                rests = min(self._account_rests[name], MAX_DOUBLINGS)
                breaker.rest(now, min(ACCOUNT_REST_S * 2**rests, LONGEST_ACCOUNT_REST_S))
                self._account_rests[name] += 1
        elif error.fault == "rate_limit":
            asked = RATE_LIMIT_REST_S if error.retry_after_s is None else error.retry_after_s
            breaker.pause(now, min(asked, LONGEST_RATE_LIMIT_REST_S))
        else:
            breaker.failed(now)

    def resting(self, now: float) -> dict[str, Rest]:
        """Return the candidates that may not be tried now."""
        return {
            name: Rest(*self._why.get(name, (None, "")), self._breakers[name].left_s(now))
            for name in sorted(self._troubled)
            if not self._breakers[name].allows(now)
        }


def always_well(_: str) -> bool:
    """Return True: a candidate that the client named is tried even while it rests."""
    return True
