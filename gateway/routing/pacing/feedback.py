"""The comparison of a window's spend with its expected spend: the factor that corrects pacing, and the burn rate.

The factor compares the spend in the ledger with the expected cost of the choices made. It depends neither on lambda nor
on the plan, so it cannot wind up while lambda is at an end of its range. While the ledger refuses requests, the factor
does not learn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.routing.pacing.schedule import HOUR_S
from gateway.routing.pacing.settings import WindowPosition

BURN_S = 3600.0
"""The burn rate covers about this many seconds."""
BURN_LEAST_S = 60.0

SURE_REQUESTS = 20.0
"""This many requests weigh as much as the first guess."""


@dataclass(slots=True)
class Interval:
    """The events between two solves: requests that arrived, and requests that ended with their costs (nanodollars)."""

    arrived: int = 0
    finished: int = 0
    expected: int = 0
    charged: int = 0
    has_refusals: bool = False


class SpendFeedback:
    """The feedback of one window. `first` is the initial ratio: how many processes spend from the window."""

    __slots__ = ("_burn_s", "_burnt", "_expected", "_first", "_forget", "_range", "_requests", "_seen", "_spent")

    def __init__(self, first: float, forget_requests: float, largest_change: float) -> None:
        self._first, self._forget, self._range = first, forget_requests, largest_change
        self._spent = self._expected = self._requests = 0.0
        self._burnt = self._burn_s = 0.0
        self._seen: tuple[float, int] | None = None

    @property
    def ratio(self) -> float:
        """Actual over expected spend."""
        if self._expected <= 0:
            return self._first
        guess = SURE_REQUESTS * self._expected / self._requests
        ratio = (self._spent + guess * self._first) / (self._expected + guess)
        return min(max(ratio, self._first / self._range), self._first * self._range)

    @property
    def burn_per_hour(self) -> float:
        """Recent spend, in nanodollars per hour."""
        return self._burnt / max(self._burn_s, BURN_LEAST_S) * HOUR_S

    def note(self, standing: WindowPosition, interval: Interval, seconds: float) -> None:
        """Take what was spent since the last call, `seconds` ago."""
        spent = self._spent_since(standing, interval)
        if spent is None:
            return
        kept = math.exp(-seconds / BURN_S)
        self._burnt = self._burnt * kept + spent
        self._burn_s = self._burn_s * kept + seconds
        if interval.has_refusals:
            return
        kept = math.exp(-interval.finished / self._forget)
        self._spent = self._spent * kept + spent
        self._expected = self._expected * kept + interval.expected
        self._requests = self._requests * kept + interval.finished

    def state(self) -> list[float]:
        """Return the sums, for JSON."""
        return [self._spent, self._expected, self._requests]

    def restore(self, state: Sequence[float]) -> None:
        """Take the sums of a `state()`. Raises TypeError or ValueError for anything else."""
        spent, expected, requests = map(float, state)
        if not (spent >= 0 and expected >= 0 and requests >= 0 and (expected == 0 or requests > 0)):
            raise ValueError(f"no sums of spend: {state!r}")
        self._spent, self._expected, self._requests = spent, expected, requests

    def _spent_since(self, standing: WindowPosition, interval: Interval) -> float | None:
        """Return the spend since the last call; None if unknown: on the first call, and when a new period began
        meanwhile.
        """
        if standing.is_rolling:  # a rolling window's spend falls as old requests leave it
            return interval.charged * self._first
        before, self._seen = self._seen, (standing.starts_at, standing.spent)
        if before is None or before[0] != standing.starts_at:
            return None
        return max(standing.spent - before[1], 0)
