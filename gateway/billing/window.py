"""Budget windows: the stretch of time over which spend, requests or tokens are counted, and the limit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Literal, get_args
from zoneinfo import ZoneInfo

Period = Literal["total", "minute", "hour", "day", "week", "month"]
PERIODS: tuple[str, ...] = get_args(Period)
Unit = Literal["usd", "requests", "tokens"]
UNITS: tuple[str, ...] = get_args(Unit)

ROLLING_S = {"minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800, "month": 2_592_000}
"""Lengths of rolling windows, in seconds; a rolling month is 30 days."""
ROLLING_PARTS = 12
KEPT_S = 32 * 86_400.0
"""Seconds for which a window is remembered after its end, or after its last use if it has no end."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit for one kind of window.

    Attributes:
        limit: nanodollars, requests or tokens, as `unit` says.
        rolling: count over the last seconds (ROLLING_S), not over a stretch of the calendar.
        soft: report when the limit is exceeded, but refuse nothing.
        zone: IANA name of the time zone of days, weeks and months; minutes and hours are always in UTC.
    """

    limit: int
    period: Period = "total"
    unit: Unit = "usd"
    rolling: bool = False
    soft: bool = False
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch of one owner's budget. Times are seconds since the epoch, UTC.

    Attributes:
        key: owner, kind and start of the window. The text before the first `/` is the tenant. Budgets that differ only
            in `limit` and `soft` (or in the zone of a minute or hour) share a key: one counter, several limits.
        ends_at: when the window starts over; None for `total`. A rolling window drops its oldest part then.
        earlier: keys of the earlier parts that a rolling window still counts.
        forget_at: when nothing will read the window any more; None if that never happens.
        separate: a limit in addition to the budget: it refuses, but its rest does not count as the budget's rest.
    """

    key: str
    limit: int
    starts_at: float
    ends_at: float | None
    unit: Unit = "usd"
    soft: bool = False
    earlier: tuple[str, ...] = ()
    forget_at: float | None = None
    separate: bool = False


def window_at(owner: str, budget: Budget, now: float) -> Window:
    """Return the window that contains `now` (seconds since the epoch).

    A rolling window is kept in `ROLLING_PARTS` parts and counts that many whole parts before the current part: it never
    counts less than its length, and at most one part more.
    """
    name = budget.period if budget.unit == "usd" else f"{budget.unit}/{budget.period}"
    if budget.period == "total":
        return _window(budget, f"{owner}/{name}", (0.0, None))
    if budget.rolling:
        return _rolling(budget, f"{owner}/rolling/{name}", now)
    if budget.zone != "UTC" and budget.period not in ("minute", "hour"):
        name, zone = f"{name}@{budget.zone}", _zone(budget.zone)
    else:
        zone = UTC
    start, end = _calendar(budget.period, datetime.fromtimestamp(now, zone))
    stretch = start.timestamp(), end.timestamp()
    return _window(budget, f"{owner}/{name}/{start:%Y-%m-%dT%H:%M}", stretch, forget_at=stretch[1] + KEPT_S)


def session_window(tenant: str, session: str, limit: int, now: float) -> Window:
    """Return the window of one session. It never starts over, and is forgotten `KEPT_S` after its last request."""
    return Window(f"{tenant}/session/{session}", limit, 0.0, None, forget_at=now + KEPT_S)


def _rolling(budget: Budget, name: str, now: float) -> Window:
    part_s = ROLLING_S[budget.period] / ROLLING_PARTS
    part = int(now // part_s)
    end = (part + 1) * part_s
    return _window(
        budget,
        f"{name}/{part}",
        (end - part_s - ROLLING_S[budget.period], end),
        earlier=tuple(f"{name}/{part - back}" for back in range(1, ROLLING_PARTS + 1)),
        forget_at=end + ROLLING_S[budget.period] + KEPT_S,
    )


def _window(
    budget: Budget,
    key: str,
    stretch: tuple[float, float | None],
    *,
    earlier: tuple[str, ...] = (),
    forget_at: float | None = None,
) -> Window:
    return Window(key, budget.limit, *stretch, budget.unit, budget.soft, earlier, forget_at)


@lru_cache(64)
def _zone(name: str) -> tzinfo:
    return ZoneInfo(name)


def _calendar(period: Period, now: datetime) -> tuple[datetime, datetime]:
    minute = now.replace(second=0, microsecond=0)
    if period == "minute":
        return minute, minute + timedelta(minutes=1)
    hour = minute.replace(minute=0)
    if period == "hour":
        return hour, hour + timedelta(hours=1)
    day = hour.replace(hour=0, fold=0)  # by the wall clock: a day of 23 or 25 hours also ends at midnight
    if period == "day":
        return day, day + timedelta(days=1)
    if period == "week":
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=7)
    first = day.replace(day=1)
    return first, (first + timedelta(days=32)).replace(day=1)
