"""The inputs and outputs of pacing: its settings, a window's position, and the resulting pace."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from gateway.billing.window import ROLLING_S, Budget, Window
from gateway.routing.decision import LARGEST_LAMBDA, price_weight_of
from gateway.tenants.policy import TenantPacingSettings

PACED_PERIODS = ("hour", "day", "week", "month")
"""The periods that are paced. Shorter windows end before there is anything to learn; a total has no end to pace
towards.
"""

Saturation = Literal["", "ample", "short"]
"""`ample`: the plan always pays for the best quality. `short`: not even the cheapest choices fit the plan."""


class WindowPosition(NamedTuple):
    """The position of one window in the ledger (nanodollars, seconds since the epoch).

    Its name stays the same from one period to the next. `ends_at` is None for a budget without end, which cannot be
    paced. A rolling window spans the time up to now (`starts_at` is now minus its length) and is paced at its limit
    over its length.
    """

    name: str
    limit: int
    spent: int
    held: int
    starts_at: float
    ends_at: float | None
    is_rolling: bool = False


@dataclass(frozen=True, slots=True)
class PacingSettings:
    """The settings of how a tenant's spend is paced.

    Attributes:
        learns_shape: plan by the learned hour-of-week shape of traffic; evenly over time otherwise.
        burst: spend may run ahead of the plan by at most this share of the window's limit.
        least: the lambda when money is ample, from the tenant's own quality weight.
        start: the lambda before the first solve.
        processes: how many gateway processes spend from the same windows; a first guess that learning refines.
        resolve_s: seconds between two solves; sooner after `resolve_requests`, never under `resolve_least_s`.
        least_rows: with fewer recent requests, lambda stays at its start.
        rows: recent requests that lambda is solved on; `kept_rows` of them survive a restart.
        row_gap_s: least time between two recent requests, so that a burst neither replaces all of them nor costs much.
        feedback_requests: the number of requests over which the feedback factor forgets.
        feedback_range: the feedback factor stays within this many times its start, up and down.
    """

    learns_shape: bool = True
    burst: float = 0.05
    least: float = 0.0
    start: float = 1.0
    processes: int = 1
    resolve_s: float = 2.0
    resolve_requests: int = 64
    resolve_least_s: float = 0.25
    least_rows: int = 8
    rows: int = 256
    kept_rows: int = 64
    row_gap_s: float = 0.05
    feedback_requests: float = 500.0
    feedback_range: float = 8.0


@dataclass(frozen=True, slots=True)
class PacingStatus:
    """The pace of one window: for `/v1/usage`, metrics and `X-Route-Reason`. Nanodollars, seconds.

    Attributes:
        price_weight: the lambda that this window asks for.
        plan_to_date: planned spend until now; None for a window without end.
        burn_per_hour: recent spend.
        exhausted_at: when the money runs out if spend continues like this and traffic as planned; None if it lasts.
        expected_requests: arrivals at this process until the end.
        feedback: planned over actual spend: below 1, requests cost more than forecast. With several processes, the
            actual spend is this process's share of all spend.
        is_frozen: True if refusals kept the feedback unchanged.
        is_capped: True if the burst cap, not the plan, set lambda.
    """

    window: str
    price_weight: float
    limit: int
    spent: int
    plan_to_date: int | None
    burn_per_hour: float
    exhausted_at: float | None
    expected_requests: float = 0.0
    feedback: float = 1.0
    saturated: Saturation = ""
    is_frozen: bool = False
    is_capped: bool = False

    @property
    def label(self) -> str:
        """The text for `X-Route-Reason`: `pace=0.42@tenant/day`, with marks for unusual states."""
        marks = (self.saturated, "burst" if self.is_capped else "", "frozen" if self.is_frozen else "")
        return ":".join([f"pace={self.price_weight:.4g}@{self.window}", *filter(None, marks)])


def standing_of(budget: Budget, window: Window, spent: int, held: int, now: float) -> WindowPosition:
    """Return the position of `window` of `budget`. Raises ValueError for a budget that is not of money."""
    if budget.unit != "usd":
        raise ValueError(f"{window.key} counts {budget.unit}, not money")
    name = window_name(window)
    if budget.rolling and window.ends_at is not None:
        return WindowPosition(name, window.limit, spent, held, now - ROLLING_S[budget.period], None, is_rolling=True)
    return WindowPosition(name, window.limit, spent, held, window.starts_at, window.ends_at)


def window_name(window: Window) -> str:
    """Return a window's name, which is the same in every period: its key without the period's start."""
    return window.key if window.ends_at is None else window.key.rpartition("/")[0]


def paced_budgets(budgets: Iterable[Budget]) -> tuple[Budget, ...]:
    """Return the budgets that can be paced: hard ones of money, of an hour or longer. Of two for one window, the
    tighter.
    """
    found: dict[Budget, Budget] = {}
    for budget in budgets:
        if budget.unit == "usd" and not budget.soft and budget.period in PACED_PERIODS:
            window = replace(budget, limit=0)
            if window not in found or budget.limit < found[window].limit:
                found[window] = budget
    return tuple(found.values())


def own_price_weight(quality_weight: float) -> float:
    """Return the lambda of a tenant's own weight, from which the paced lambda rises.

    At the ends of the scale (0, 1) there is nothing to multiply: the paced lambda then rises from 0.
    """
    return price_weight_of(quality_weight) if 0 < quality_weight < 1 else 0.0


def request_scale(named: float | None, own: float) -> float:
    """Return the scale by which a request multiplies its tenant's paced lambda.

    `named` is the weight that the request asks for, `own` the tenant's. A request that names no weight pays the paced
    lambda, but a tenant for which only price counts (0) always takes the cheapest. A request that names a weight trades
    that much more or less than the tenant does: while money is ample, this gives exactly the lambda of the named
    weight.
    """
    if named is None:
        return math.inf if own <= 0 else 1.0
    return scale_of(named) / (own_price_weight(own) or 1.0)


def pacing_settings(asked: TenantPacingSettings, quality_weight: float, processes: int) -> PacingSettings:
    """Return the pacing settings of a tenant with this weight: lambda never falls below the lambda of that weight."""
    least = own_price_weight(quality_weight)
    return PacingSettings(
        learns_shape=asked.plan == "learned", burst=asked.burst, least=least, start=least, processes=processes
    )


def scale_of(quality_weight: float) -> float:
    """Return the scale by which a request's quality weight multiplies the paced lambda: (1 - w) / w.

    0.5 is neutral; 1 gives 0 (only quality counts); 0 gives infinity (only price counts, whatever the pace).
    """
    if quality_weight <= 0:
        return math.inf
    return (1 - quality_weight) / quality_weight


def scaled(price_weight: float, scale: float) -> float:
    """Return the lambda of a request; an infinite scale gives the largest lambda, even if the paced lambda is 0."""
    if math.isinf(scale):
        return LARGEST_LAMBDA
    return min(price_weight * scale, LARGEST_LAMBDA)
