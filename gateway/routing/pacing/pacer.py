"""Pacing: finds the lambda at which a tenant's budget lasts exactly until its window ends.

At each re-solve the money left is divided by the requests to expect until the end, and lambda is solved on recent
requests so that one request costs that much on average (certainty-equivalent re-solving: Jasin & Kumar, "A Re-solving
Heuristic with Bounded Revenue Loss", 2012; Balseiro & Gur, "Learning in Repeated Auctions with Budgets", 2019, for
pacing by a multiplier). Past deviations are thus spread over the rest of the window. A feedback factor, an EMA of
planned over actual spend, corrects for wrong forecasts, for other processes and for spend that lambda does not steer. A
burst cap keeps spend from running ahead of the plan.

Rule: pure. Time (seconds since the epoch) and the ledger's numbers (nanodollars) come in as arguments.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.routing.decision import LARGEST_LAMBDA
from gateway.routing.pacing.cost_curve import CostCurve, Option, RecentDecisions, Reprice
from gateway.routing.pacing.feedback import Interval, SpendFeedback
from gateway.routing.pacing.schedule import HOUR_S, SpendSchedule, UniformPlan, WeekShape, share
from gateway.routing.pacing.settings import PacingSettings, PacingStatus, Saturation, WindowPosition
from gateway.routing.pacing.traffic import TrafficForecast

STATE_FORMAT = 1


class Pacer:
    """The pacer of one tenant's or key's windows in one process; the tightest plan decides lambda."""

    def __init__(self, settings: PacingSettings, reference_cost: int) -> None:
        self._settings = settings
        self._reference_cost = reference_cost
        self._recent = RecentDecisions(settings.rows, settings.row_gap_s)
        self._shape = WeekShape()
        self._arrivals = TrafficForecast()
        self._watches: dict[str, SpendFeedback] = {}
        self._solved_at = -math.inf
        self._interval = Interval()
        self.price_weight = max(settings.start, settings.least)
        self.paces: tuple[PacingStatus, ...] = ()

    @property
    def tightest(self) -> PacingStatus | None:
        """The window that sets lambda; None before the first solve, and if no window can be paced."""
        planned = [pace for pace in self.paces if pace.plan_to_date is not None]
        return max(planned, key=lambda pace: pace.price_weight, default=None)

    @property
    def plan(self) -> SpendSchedule:
        return self._shape if self._settings.learns_shape else UniformPlan()

    def decided(self, now: float, options: Iterable[Option], scale: float = 1.0) -> None:
        """Note that a request was decided on, at `scale` times the paced lambda: see `settings.scale_of`; 0 for a
        pinned request.
        """
        self._shape.note(now)
        self._recent.note(now, options, scale)
        self._interval.arrived += 1

    def finished(self, expected_cost: int, charge: int, *, is_refused: bool = False) -> None:
        """Note that a request ended: the expected cost of its choice, and its charge.

        `is_refused` is True when the ledger refused its reservation: spend in that interval says nothing about the
        forecasts.
        """
        interval = self._interval
        interval.expected += expected_cost
        interval.charged += charge
        interval.finished += 1
        interval.has_refusals = interval.has_refusals or is_refused

    def is_due(self, now: float) -> bool:
        """Return whether to read the ledger and solve."""
        settings = self._settings
        since = now - self._solved_at
        if since >= settings.resolve_s or since < 0:
            return True
        return self._interval.arrived >= settings.resolve_requests and since >= settings.resolve_least_s

    def solve(self, now: float, standings: Sequence[WindowPosition]) -> tuple[PacingStatus, ...]:
        """Solve lambda from the windows' positions; `price_weight` is then the tightest window's."""
        since, interval = now - self._solved_at, self._interval
        self._solved_at, self._interval = now, Interval()
        if since >= 0 and not math.isinf(since):
            self._arrivals.note(interval.arrived, since, self.plan.hours(now - since, now))
        else:  # first solve, or the clock was set back
            since = 0.0
            self._arrivals.note(interval.arrived, 0.0, 0.0)
        is_ready = self._arrivals.is_known and len(self._recent) >= self._settings.least_rows
        curve = self._recent.curve() if is_ready else None
        self._watches = {s.name: self._watches.get(s.name) or self._watch() for s in standings}
        for standing in standings:
            self._watches[standing.name].note(standing, interval, since)
        self.paces = tuple(self._pace(now, standing, curve, interval.has_refusals) for standing in standings)
        tightest = self.tightest
        if tightest is not None and curve is not None:
            self.price_weight = tightest.price_weight
        elif tightest is None:
            self.price_weight = self._settings.least
        return self.paces

    def reprice(self, price: Reprice, reference_cost: int) -> None:
        """Take changed prices or estimates: the next solve uses them for recent requests."""
        self._recent.reprice(price)
        if self._reference_cost > 0:  # until then, keep the same trade of quality for money
            self.price_weight = min(self.price_weight * reference_cost / self._reference_cost, LARGEST_LAMBDA)
        self._reference_cost = reference_cost

    def state(self) -> dict[str, Any]:
        """Return the state that a restart continues from, for JSON (some tens of kilobytes)."""
        return {
            "format": STATE_FORMAT,
            "lagrangian": self.price_weight,
            "rows": self._recent.state(self._settings.kept_rows),
            "shape": self._shape.state(),
            "arrivals": self._arrivals.state(),
            "watches": {name: watch.state() for name, watch in self._watches.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state()`. Raises KeyError, TypeError or ValueError for anything else: then start afresh."""
        if state["format"] != STATE_FORMAT:
            raise ValueError(f"pacing state of format {state['format']!r}; this version reads {STATE_FORMAT}")
        shape, arrivals = WeekShape.restore(state["shape"]), TrafficForecast.restore(state["arrivals"])
        watches = {str(name): self._watch() for name in state["watches"]}
        for name, sums in state["watches"].items():
            watches[name].restore(sums)
        price_weight = float(state["lagrangian"])
        if not 0 <= price_weight <= LARGEST_LAMBDA:
            raise ValueError(f"lambda is {price_weight}")
        recent = RecentDecisions(self._settings.rows, self._settings.row_gap_s)
        recent.restore(state["rows"])
        self._shape, self._arrivals, self._watches = shape, arrivals, watches
        self._recent, self.price_weight = recent, price_weight

    def _watch(self) -> SpendFeedback:
        settings = self._settings
        return SpendFeedback(settings.processes, settings.feedback_requests, settings.feedback_range)

    def _pace(self, now: float, standing: WindowPosition, curve: CostCurve | None, is_frozen: bool) -> PacingStatus:
        watch = self._watches[standing.name]
        least = self._settings.least
        if standing.ends_at is None and not standing.is_rolling:
            return PacingStatus(standing.name, least, standing.limit, standing.spent, None, watch.burn_per_hour, None)
        aim = self._aim(now, standing, watch)
        price_weight, saturated = self.price_weight, _saturation(curve, aim.target)
        if curve is not None:
            price_weight = min(max(curve.solve(aim.target) * self._reference_cost, least), LARGEST_LAMBDA)
        return PacingStatus(
            window=standing.name,
            price_weight=price_weight,
            limit=standing.limit,
            spent=standing.spent,
            plan_to_date=aim.plan_to_date,
            burn_per_hour=watch.burn_per_hour,
            exhausted_at=self._exhausted_at(now, standing, watch),
            expected_requests=aim.requests,
            feedback=self._settings.processes / watch.ratio,
            saturated=saturated,
            is_frozen=is_frozen,
            is_capped=aim.is_capped,
        )

    def _aim(self, now: float, standing: WindowPosition, watch: SpendFeedback) -> _Aim:
        """Return what a request may cost on average from now on."""
        plan, limit = self.plan, standing.limit
        committed = standing.spent + standing.held
        start, end = standing.starts_at, standing.ends_at
        if end is None:  # rolling: paced at its limit over its length, less the excess over its limit
            length = now - start
            requests = self._arrivals.expected(plan, now, now + length)
            left = limit - max(committed - limit, 0)
            return _Aim(_per_request(left, requests, watch), requests, limit, is_capped=False)
        requests = self._arrivals.expected(plan, now, end)
        target = _per_request(limit - committed, requests, watch)
        soon = min(now + max(self._settings.resolve_s, BURST_LOOKAHEAD * (end - start)), end)
        room = limit * (share(plan, start, end, soon) + self._settings.burst) - standing.spent
        capped = _per_request(room, self._arrivals.expected(plan, now, soon), watch)
        to_date = round(limit * share(plan, start, end, now))
        return _Aim(min(target, capped), requests, to_date, is_capped=capped < target)

    def _exhausted_at(self, now: float, standing: WindowPosition, watch: SpendFeedback) -> float | None:
        """Return when the money runs out at the recent burn with traffic as planned, to a thousandth of the time left.

        A rolling window is considered exhausted if the burn would use up its money within its length, ignoring that old
        spend leaves the window.
        """
        left, end = standing.limit - standing.spent, standing.ends_at
        if left <= 0:
            return now
        if watch.burn_per_hour <= 0:
            return None
        around = self.plan.hours(now - HOUR_S, now)  # the burn covers about the last hour
        hours = left / watch.burn_per_hour * around
        if end is None:
            end = now + (now - standing.starts_at)
            if self.plan.hours(now, end) <= standing.limit / watch.burn_per_hour * around:
                return None
        if self.plan.hours(now, end) <= hours:
            return None
        low, high = now, end
        while high - low > (end - now) / 1_000:
            middle = (low + high) / 2
            low, high = (middle, high) if self.plan.hours(now, middle) < hours else (low, middle)
        return high


BURST_LOOKAHEAD = 0.002
"""The share of a window over which the burst cap looks ahead."""


@dataclass(frozen=True, slots=True)
class _Aim:
    target: float
    requests: float
    plan_to_date: int
    is_capped: bool


def _per_request(money: float, requests: float, watch: SpendFeedback) -> float:
    """Return the expected cost per request that spends `money` on `requests` requests."""
    return max(money, 0.0) / requests / watch.ratio


def _saturation(curve: CostCurve | None, target: float) -> Saturation:
    if curve is None:
        return ""
    if target >= curve.dearest:
        return "ample"
    return "short" if target < curve.cheapest else ""
