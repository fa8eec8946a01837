"""A budget's window as /v1/usage and /admin/usage show it."""

from __future__ import annotations

from typing import Any

from gateway.core.budget import Budget
from gateway.core.hold import Balance
from gateway.core.money import NANODOLLARS


def window_row(budget: Budget, balance: Balance) -> dict[str, Any]:
    """A window: in USD (`limit_usd`, ...), or in its own unit (`limit`, ...)."""
    window = balance.window
    mark, unit = ("_usd", NANODOLLARS) if budget.unit == "usd" else ("", 1)
    return {
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
