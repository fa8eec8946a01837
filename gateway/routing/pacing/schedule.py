"""The plan for spending a window's money: evenly over time, or in proportion to the tenant's weekly traffic.

At a constant lambda spend follows traffic, so the plan that treats every hour equally is the shape of the traffic
itself. The shape is learned as multiplicative seasonal factors (Holt, "Forecasting seasonals and trends by
exponentially weighted moving averages", 1957; Winters 1960): first an hour of the day, which one day teaches, and in
addition an hour of the week. Hours are counted in UTC from the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Protocol

HOUR_S = 3600.0
DAY_HOURS, WEEK_HOURS = 24, 168
LEAST_FACTOR, MOST_FACTOR = 0.05, 20.0
"""No hour is planned at zero, because traffic may come in an hour that never had any."""


class SpendSchedule(Protocol):
    """The distribution of traffic over time. Times are seconds since the epoch."""

    def hours(self, start: float, end: float) -> float:
        """Return the traffic to expect from `start` to `end`, in hours of average traffic; 0 when
        `end` is not later.
        """
        ...


class UniformPlan:
    """A schedule in which all hours are equal."""

    def hours(self, start: float, end: float) -> float:
        return max(end - start, 0.0) / HOUR_S


def share(plan: SpendSchedule, start: float, end: float, now: float) -> float:
    """Return the share of a window's money that the plan spends by `now`, 0 to 1."""
    whole = plan.hours(start, end)
    if whole <= 0 or now >= end:
        return 1.0
    return min(plan.hours(start, max(now, start)) / whole, 1.0)


class WeekShape:
    """The hour-of-week shape of one tenant's traffic, learned; uniform until one whole day was seen.

    Gains shrink if few requests are expected in an hour, so that noise is not mistaken for shape.
    """

    __slots__ = ("_count", "_day", "_first_day", "_hour", "_level", "_prefix", "_week", "_whole")

    DAY_GAIN, WEEK_GAIN, LEVEL_GAIN = 0.2, 0.3, 1 / 48
    SURE_REQUESTS = 20.0
    """An hour with this many expected requests moves the shape by half of its gain."""
    QUIET_HOURS = 3 * WEEK_HOURS
    """A silence of more hours than this says nothing about the shape."""

    def __init__(self) -> None:
        self._day = [1.0] * DAY_HOURS
        self._week = [1.0] * WEEK_HOURS
        self._level = 0.0
        self._hour: int | None = None
        self._count = 0
        self._whole = False
        self._first_day: list[int | None] = [None] * DAY_HOURS
        self._prefix = self._sums()

    @property
    def is_learned(self) -> bool:
        """True once a whole day was seen."""
        return None not in self._first_day

    def note(self, now: float, count: int = 1) -> None:
        """Note requests that arrived at `now`. An hour counts if it was watched from its first moment to its last."""
        hour = int(now // HOUR_S)
        if self._hour is None or hour < self._hour - 1:  # the first hour, or the clock was set back
            self._hour, self._count, self._whole = hour, 0, False
        elif hour > self._hour:
            self._close_until(hour)
        self._count += count

    def factors(self) -> list[float]:
        """Return 168 factors of mean 1, from Thursday 00:00 UTC (the epoch's weekday) on."""
        return [self._prefix[hour + 1] - self._prefix[hour] for hour in range(WEEK_HOURS)]

    def hours(self, start: float, end: float) -> float:
        return max(self._until(end) - self._until(start), 0.0)

    def state(self) -> dict[str, Any]:
        """Return everything learned, for JSON, without the current hour."""
        return {"day": self._day[:], "week": self._week[:], "level": self._level, "first_day": self._first_day[:]}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> WeekShape:
        """Return the shape of a `state()`. Raises KeyError, TypeError or ValueError for anything else."""
        shape = cls()
        shape._day = _factors(state["day"], DAY_HOURS)
        shape._week = _factors(state["week"], WEEK_HOURS)
        shape._level = float(state["level"])
        shape._first_day = [None if count is None else int(count) for count in state["first_day"]]
        if len(shape._first_day) != DAY_HOURS:
            raise ValueError(f"a first day has {DAY_HOURS} hours, not {len(shape._first_day)}")
        shape._prefix = shape._sums()
        return shape

    def _close_until(self, hour: int) -> None:
        assert self._hour is not None
        if self._whole:
            self._learn(self._hour, self._count)
        quiet = range(self._hour + 1, hour)
        if len(quiet) <= self.QUIET_HOURS:
            for empty in quiet:
                self._learn(empty, 0)
        self._hour, self._count, self._whole = hour, 0, True
        self._prefix = self._sums()

    def _learn(self, hour: int, count: int) -> None:
        if not self.is_learned:
            self._first_day[hour % DAY_HOURS] = count
            self._begin()
            return
        day, week = hour % DAY_HOURS, hour % WEEK_HOURS
        factor = self._day[day] * self._week[week]
        expected = self._level * factor
        if expected > 0:
            sure = expected / (expected + self.SURE_REQUESTS)
            ratio = min(count / expected, MOST_FACTOR)
            self._day[day] = _bounded(self._day[day] * (1 + self.DAY_GAIN * sure * (ratio - 1)))
            self._week[week] = _bounded(self._week[week] * (1 + self.WEEK_GAIN * sure * (ratio - 1)))
        self._level += self.LEVEL_GAIN * (count / factor - self._level)

    def _begin(self) -> None:
        """Once each hour of a day was seen, take their counts as the first shape, pulled towards
        even if they are few.
        """
        counts = [count for count in self._first_day if count is not None]
        if len(counts) < DAY_HOURS:
            return
        self._level = sum(counts) / DAY_HOURS
        self._day = [_bounded((count + self.SURE_REQUESTS) / (self._level + self.SURE_REQUESTS)) for count in counts]

    def _sums(self) -> list[float]:
        raw = [self._day[hour % DAY_HOURS] * self._week[hour] for hour in range(WEEK_HOURS)]
        mean = math.fsum(raw) / WEEK_HOURS
        return [0.0, *accumulate(factor / mean for factor in raw)]

    def _until(self, moment: float) -> float:
        """Return the hours of average traffic since the epoch."""
        hours = moment / HOUR_S
        whole = math.floor(hours)
        weeks, hour = divmod(whole, WEEK_HOURS)
        prefix = self._prefix
        part = (hours - whole) * (prefix[hour + 1] - prefix[hour])
        return weeks * prefix[WEEK_HOURS] + prefix[hour] + part


def _bounded(factor: float) -> float:
    return min(max(factor, LEAST_FACTOR), MOST_FACTOR)


def _factors(values: Sequence[Any], count: int) -> list[float]:
    factors = [float(value) for value in values]
    if len(factors) != count or not all(LEAST_FACTOR <= factor <= MOST_FACTOR for factor in factors):
        raise ValueError(f"a shape has {count} factors from {LEAST_FACTOR} to {MOST_FACTOR}")
    return factors
