"""How many requests to expect: a fast and a slow level of traffic, relative to its shape over the week.

What is next is like the last half hour, what is far off like the last day: a step that lasts is followed, a burst
is not taken for the rest of the month.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gateway.routing.pacing.schedule import HOUR_S, SpendSchedule

FAST_S, SLOW_S = 1_800.0, 86_400.0
REVERT_S = 12 * HOUR_S
"""Traffic is expected to fall back from the fast level to the slow one within about this time."""


@dataclass(slots=True)
class _Level:
    """Requests per hour of average traffic: sums that forget with `forget_s`."""

    forget_s: float
    count: float = 0.0
    hours: float = 0.0

    def note(self, count: float, seconds: float, hours: float) -> None:
        kept = math.exp(-seconds / self.forget_s)
        # What came within a long interval is itself weighed by its age.
        weight = self.forget_s / seconds * (1 - kept) if seconds > 0 else 1.0
        self.count = self.count * kept + count * weight
        self.hours = self.hours * kept + hours * weight

    @property
    def value(self) -> float:
        return self.count / self.hours if self.hours > 0 else 0.0


class TrafficForecast:
    """Forecasts the requests of one tenant at this process."""

    __slots__ = ("_fast", "_slow")

    def __init__(self) -> None:
        self._fast, self._slow = _Level(FAST_S), _Level(SLOW_S)

    @property
    def is_known(self) -> bool:
        """Whether any time was watched."""
        return self._slow.hours > 0

    def note(self, count: int, seconds: float, hours: float) -> None:
        """`count` requests came within `seconds`, which the plan takes for `hours` of average traffic."""
        self._fast.note(count, seconds, hours)
        self._slow.note(count, seconds, hours)

    def expected(self, plan: SpendSchedule, now: float, end: float) -> float:
        """Requests to come until `end`; at least 1, for the next one may be the last."""
        slow = self._slow.value
        like_now = REVERT_S * -math.expm1(-max(end - now, 0.0) / REVERT_S)
        expected = slow * plan.hours(now, end) + (self._fast.value - slow) * plan.hours(now, now + like_now)
        return max(expected, 1.0)

    def state(self) -> list[list[float]]:
        """Fit for JSON."""
        return [[level.count, level.hours] for level in (self._fast, self._slow)]

    @classmethod
    def restore(cls, state: Any) -> TrafficForecast:
        """Of a `state()`. Raises TypeError or ValueError where it is none."""
        arrivals = cls()
        for level, (count, hours) in zip((arrivals._fast, arrivals._slow), state, strict=True):
            level.count, level.hours = float(count), float(hours)
            if not (level.count >= 0 and level.hours >= 0):
                raise ValueError(f"{count} requests in {hours} hours")
        return arrivals
