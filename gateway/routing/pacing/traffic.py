"""The requests to expect: a fast and a slow level of traffic, relative to the weekly shape of the traffic.

The near future is expected to be like the last half hour, the far future like the last day: a lasting step is followed,
while a burst is not extrapolated over the rest of the month.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gateway.routing.pacing.schedule import HOUR_S, SpendSchedule

FAST_S, SLOW_S = 1_800.0, 86_400.0
REVERT_S = 12 * HOUR_S
"""Seconds within which traffic is expected to return from the fast level to the slow level, approximately."""


@dataclass(slots=True)
class _Level:
    """Requests per hour of average traffic: sums that forget with `forget_s`."""

    forget_s: float
    count: float = 0.0
    hours: float = 0.0

    def note(self, count: float, seconds: float, hours: float) -> None:
        kept = math.exp(-seconds / self.forget_s)
        # Requests within a long interval are weighted by their age, too.
        weight = self.forget_s / seconds * (1 - kept) if seconds > 0 else 1.0
        self.count = self.count * kept + count * weight
        self.hours = self.hours * kept + hours * weight

    @property
    def value(self) -> float:
        return self.count / self.hours if self.hours > 0 else 0.0


class TrafficForecast:
    """A forecast of one tenant's requests at this process."""

    __slots__ = ("_fast", "_slow")

    def __init__(self) -> None:
        self._fast, self._slow = _Level(FAST_S), _Level(SLOW_S)

    @property
    def is_known(self) -> bool:
        """True once any time was watched."""
        return self._slow.hours > 0

    def note(self, count: int, seconds: float, hours: float) -> None:
        """Note `count` requests within `seconds`, which the plan counts as `hours` of average traffic."""
        self._fast.note(count, seconds, hours)
        self._slow.note(count, seconds, hours)

    def expected(self, plan: SpendSchedule, now: float, end: float) -> float:
        """Return the requests to come until `end`; at least 1, because the next request may be the last."""
        slow = self._slow.value
        like_now = REVERT_S * -math.expm1(-max(end - now, 0.0) / REVERT_S)
        expected = slow * plan.hours(now, end) + (self._fast.value - slow) * plan.hours(now, now + like_now)
        return max(expected, 1.0)

    def state(self) -> list[list[float]]:
        """Return the levels, for JSON."""
        return [[level.count, level.hours] for level in (self._fast, self._slow)]

    @classmethod
    def restore(cls, state: Any) -> TrafficForecast:
        """Return the forecast of a `state()`. Raises TypeError or ValueError for anything else."""
        arrivals = cls()
        for level, (count, hours) in zip((arrivals._fast, arrivals._slow), state, strict=True):
            level.count, level.hours = float(count), float(hours)
            if not (level.count >= 0 and level.hours >= 0):
                raise ValueError(f"{count} requests in {hours} hours")
        return arrivals
