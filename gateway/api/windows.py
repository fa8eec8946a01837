"""A budget's window, and its pace, as /v1/usage and /admin/usage show them."""

from __future__ import annotations

from typing import Any

from gateway.billing.money import NANODOLLARS
from gateway.billing.reservation import Balance
from gateway.billing.window import Budget
from gateway.routing.pacing.settings import Pace


def window_row(budget: Budget, balance: Balance, pacing: dict[str, Any] | None = None) -> dict[str, Any]:
    """A window: in USD (`limit_usd`, ...), or in its own unit (`limit`, ...); `pacing` where it is paced."""
    window = balance.window
    mark, unit = ("_usd", NANODOLLARS) if budget.unit == "usd" else ("", 1)
    row = {
        "name": window.key.partition("/")[2],
        "unit": budget.unit,
        "period": budget.period,
        "rolling": budget.rolling,
        "soft": budget.soft,
        "limit" + mark: window.limit / unit,
        "spent" + mark: balance.spent / unit,
        "held" + mark: balance.held / unit,
        "remaining" + mark: max(window.limit - balance.spent - balance.held, 0) / unit,
        "starts_at": window.starts_at,
        "resets_at": window.ends_at,
    }
    return row if pacing is None else {**row, "pacing": pacing}


def pace_row(pace: Pace, least: float, now: float) -> dict[str, Any]:
    """What this process makes of a window: the lambda it asks for, and whether it is over the tenant's own."""
    left = pace.exhausted_at
    return {
        "lambda": pace.lagrangian,
        "binds": pace.lagrangian > least,
        "plan_usd": None if pace.plan_to_date is None else pace.plan_to_date / NANODOLLARS,
        "burn_usd_per_hour": pace.burn_per_hour / NANODOLLARS,
        "exhausted_at": left,
        "exhausted_in_seconds": None if left is None else max(left - now, 0.0),
        "saturation": pace.saturated or None,
        "feedback": pace.feedback,
        "expected_requests": round(pace.expected_requests, 1),
        "burst_capped": pace.is_capped,
        "frozen": pace.is_frozen,
    }
