"""What pacing is told and what it tells: its settings, where a window stands, and the pace it is given."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from gateway.billing.window import ROLLING_S, Budget, Window
from gateway.routing.decision import LARGEST_LAMBDA, price_weight_of
from gateway.tenants.policy import TenantPacingSettings

PACED_PERIODS = ("hour", "day", "week", "month")
"""Shorter windows are over before there is anything to learn from; a total has no end to pace towards."""

Saturation = Literal["", "ample", "short"]
"""`ample`: the plan pays for the best quality throughout. `short`: not even the cheapest choices fit it."""


class WindowPosition(NamedTuple):
    """Where one window stands in the ledger (nanodollars, seconds since the epoch).

    Its name stays the same from one period to the next. `ends_at` is None for a budget without end, which cannot be
    paced. A rolling window spans the time up to now (`starts_at` is now less its length) and is paced at its limit
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
    """How a tenant's spend is paced.

    Attributes:
        learns_shape: plan by the learned hour-of-week shape of traffic; evenly over time otherwise.
        burst: spend may run ahead of the plan by at most this share of the window's limit.
        least: the lambda when money is ample: what a tenant thinks quality is worth in any case.
        start: the lambda before the first solve.
        processes: how many gateway processes spend from the same windows, as a first guess; it is then learned.
        resolve_s: seconds between two solves; sooner after `resolve_requests`, never under `resolve_least_s`.
        least_rows: recent requests below which lambda stays as it started.
        rows: recent requests that are solved on; `kept_rows` of them outlive a restart.
        row_gap_s: least time between two of them, so that a burst neither fills them all nor costs much.
        feedback_requests: over how many requests the feedback factor forgets.
        feedback_range: it stays within this many times its start, up and down.
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
    """What pacing makes of one window: for `/v1/usage`, metrics and `X-Route-Reason`. Nanodollars, seconds.

    Attributes:
        price_weight: the lambda that this window asks for.
        plan_to_date: what was meant to be spent by now; None for a window without end.
        burn_per_hour: recent spend.
        exhausted_at: when the money is gone if spend goes on like this and traffic as planned; None if it lasts.
        expected_requests: arrivals at this process until the end.
        feedback: planned over actual spend: below 1, requests cost more than forecast. With several processes the
            actual spend is taken for this one's share of all.
        is_frozen: whether refusals kept the feedback as it was.
        is_capped: whether the burst cap, not the plan, set lambda.
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
        """For `X-Route-Reason`: `pace=0.42@tenant/day`, with what stands out of the ordinary."""
        marks = (self.saturated, "burst" if self.is_capped else "", "frozen" if self.is_frozen else "")
        return ":".join([f"pace={self.price_weight:.4g}@{self.window}", *filter(None, marks)])


def standing_of(budget: Budget, window: Window, spent: int, held: int, now: float) -> WindowPosition:
    """Where `window` of `budget` stands. Raises ValueError for a budget that is not of money."""
    if budget.unit != "usd":
        raise ValueError(f"{window.key} counts {budget.unit}, not money")
    name = window_name(window)
    if budget.rolling and window.ends_at is not None:
        return WindowPosition(name, window.limit, spent, held, now - ROLLING_S[budget.period], None, is_rolling=True)
    return WindowPosition(name, window.limit, spent, held, window.starts_at, window.ends_at)


def window_name(window: Window) -> str:
    """The name of a window, which stays the same from one period to the next: its key without the period's start."""
    return window.key if window.ends_at is None else window.key.rpartition("/")[0]


def paced_budgets(budgets: Iterable[Budget]) -> tuple[Budget, ...]:
    """Those that can be paced: hard ones of money, of an hour or longer. Of two for one window the tighter."""
    found: dict[Budget, Budget] = {}
    for budget in budgets:
        if budget.unit == "usd" and not budget.soft and budget.period in PACED_PERIODS:
            window = replace(budget, limit=0)
            if window not in found or budget.limit < found[window].limit:
                found[window] = budget
    return tuple(found.values())


def own_price_weight(quality_weight: float) -> float:
    """The lambda of a tenant's own weight, from which the paced one rises. At the ends of the scale (0, 1) there is
    nothing to multiply: the paced lambda then rises from 0.
    """
    return price_weight_of(quality_weight) if 0 < quality_weight < 1 else 0.0


def request_scale(named: float | None, own: float) -> float:
    """By what a request multiplies its tenant's paced lambda. `named` is the weight that it asks for, `own` the
    tenant's.

    Who names none pays the paced lambda, but a tenant that lets only price count (0) always takes the cheapest. Who
    names one trades that much more or less than the tenant does: while money is ample that is just the lambda of the
    named weight.
    """
    if named is None:
        return math.inf if own <= 0 else 1.0
    return scale_of(named) / (own_price_weight(own) or 1.0)


def pacing_settings(asked: TenantPacingSettings, quality_weight: float, processes: int) -> PacingSettings:
    """Return how a tenant of this weight is paced: never at less than what it thinks money is worth in any case."""
    least = own_price_weight(quality_weight)
    return PacingSettings(
        learns_shape=asked.plan == "learned", burst=asked.burst, least=least, start=least, processes=processes
    )


def scale_of(quality_weight: float) -> float:
    """What a request's quality weight makes of the paced lambda: times (1 - w) / w.

    0.5 is neutral; 1 is 0 (only quality counts); 0 is infinite (only price counts, whatever the pace).
    """
    if quality_weight <= 0:
        return math.inf
    return (1 - quality_weight) / quality_weight


def scaled(price_weight: float, scale: float) -> float:
    """The lambda of a request; a scale of infinity is the largest lambda even where the paced one is 0."""
    if math.isinf(scale):
        return LARGEST_LAMBDA
    return min(price_weight * scale, LARGEST_LAMBDA)
