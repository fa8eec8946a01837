"""Budget windows: which stretch of time a tenant's spend counts towards."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

Period = Literal["total", "minute", "hour", "day", "week", "month"]
PERIODS: tuple[str, ...] = get_args(Period)


@dataclass(frozen=True, slots=True)
class Budget:
    """A hard cap on spend for one kind of window, in nanodollars."""

    limit: int
    period: Period = "total"


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch of one tenant's budget. `ends_at` is None for `total`; times are seconds since the epoch, UTC."""

    key: str
    limit: int
    starts_at: float
    ends_at: float | None


def window_at(tenant: str, budget: Budget, now: float) -> Window:
    """The window that `now` (seconds since the epoch) falls into; calendar windows are cut in UTC."""
    if budget.period == "total":
        return Window(f"{tenant}/total", budget.limit, 0.0, None)
    start, end = _calendar(budget.period, datetime.fromtimestamp(now, UTC))
    return Window(f"{tenant}/{budget.period}/{start:%Y-%m-%dT%H:%M}", budget.limit, start.timestamp(), end.timestamp())


def _calendar(period: Period, now: datetime) -> tuple[datetime, datetime]:
    minute = now.replace(second=0, microsecond=0)
    if period == "minute":
        return minute, minute + timedelta(minutes=1)
    hour = minute.replace(minute=0)
    if period == "hour":
        return hour, hour + timedelta(hours=1)
    day = hour.replace(hour=0)
    if period == "day":
        return day, day + timedelta(days=1)
    if period == "week":
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=7)
    first = day.replace(day=1)
    return first, (first + timedelta(days=32)).replace(day=1)
