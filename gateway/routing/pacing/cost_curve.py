"""The cost of recent requests at each lambda: the curve that pacing solves.

A request's choice changes only where two of its options tie, on the upper envelope of the lines quality - lambda *
cost, so mean spend over recent requests falls in steps at known places and is solved exactly.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

from gateway.routing.decision import Decision

MOST_LAG = 16
"""The curve is built again when more than one in this many rows is new."""

Reprice = Callable[[str, int, int], int | None]
"""(candidate, input tokens, output tokens) -> expected nanodollars; None when the candidate is no longer on offer."""


class Option(NamedTuple):
    """The expected result of one candidate on one request: quality from 0 to 1, cost in nanodollars."""

    candidate: str
    quality: float
    cost: int
    input_tokens: int = 0
    output_tokens: int = 0


def options_of(decision: Decision) -> Iterator[Option]:
    """Yield the options of a decision's choices; without forecasts there is no trade-off, so only the first choice."""
    for row in decision.choices:
        if row.forecast is None:
            yield Option(row.candidate.name, 0.0, row.expected_cost)
            return
        replied = min(row.forecast.expected_tokens, row.output_limit) * row.choices
        yield Option(row.candidate.name, row.forecast.quality, row.expected_cost, row.input_tokens, replied)


def envelope(options: Iterable[Option]) -> list[Option]:
    """Return the options that are best at some lambda, from the best quality down to the cheapest."""
    hull: list[Option] = []
    for option in sorted(options, key=lambda option: (option.cost, -option.quality)):
        if hull and option.quality <= hull[-1].quality:
            continue
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-1], option):
            hull.pop()
        hull.append(option)
    hull.reverse()
    return hull


class CostCurve:
    """The mean cost of a request (nanodollars) as a falling function of lambda per nanodollar."""

    __slots__ = ("_breaks", "_costs", "count")

    def __init__(self, drops: Iterable[tuple[float, int]], first: int, count: int) -> None:
        """Build the curve of `count` requests, whose costs sum to `first` at lambda 0.

        `drops` are pairs (lambda, nanodollars saved from that lambda on).
        """
        ordered = sorted(drops)
        self.count = count
        self._breaks = [at for at, _ in ordered]
        self._costs = [total / count for total in accumulate((-saved for _, saved in ordered), initial=first)]

    @property
    def dearest(self) -> float:
        """The mean cost when only quality counts."""
        return self._costs[0]

    @property
    def cheapest(self) -> float:
        """The mean cost when only price counts."""
        return self._costs[-1]

    @property
    def last_break(self) -> float:
        """The lambda from which on nothing changes."""
        return self._breaks[-1] if self._breaks else 0.0

    def cost_at(self, price_weight: float) -> float:
        """Return the mean cost at a lambda. Between two steps the cost is interpolated: other requests would change
        there.
        """
        breaks, costs = self._breaks, self._costs
        place = bisect_right(breaks, price_weight)
        if place in (0, len(breaks)):
            return costs[place]
        low, high = breaks[place - 1], breaks[place]
        return costs[place] + (costs[place + 1] - costs[place]) * (price_weight - low) / (high - low)

    def solve(self, cost: float) -> float:
        """Return the least lambda at which the mean cost is at most `cost`; past the last step if there is none."""
        breaks, costs = self._breaks, self._costs
        if cost >= costs[0]:
            return 0.0
        if cost < costs[-1]:
            return 2 * self.last_break
        place = bisect_left(costs, -cost, key=lambda value: -value)
        high = breaks[place - 1]
        if place == 1:
            return high
        saved = costs[place - 1] - costs[place]
        return breaks[place - 2] + (high - breaks[place - 2]) * (costs[place - 1] - cost) / saved


class RecentDecisions:
    """The envelopes of the latest requests, limited in number and, by a least gap in time, in work."""

    __slots__ = ("_curve", "_least_gap_s", "_new", "_rows", "_taken_at")

    def __init__(self, most: int, least_gap_s: float) -> None:
        self._rows: deque[_CurveRow] = deque(maxlen=most)
        self._least_gap_s = least_gap_s
        self._taken_at = -math.inf
        self._curve: CostCurve | None = None
        self._new = 0
        """Number of rows that are not in the curve yet."""

    def __len__(self) -> int:
        return len(self._rows)

    def note(self, now: float, options: Iterable[Option], scale: float) -> None:
        """Note a request that was decided on at `scale` times the paced lambda. Reads its options
        only if it is kept.
        """
        if 0 <= now - self._taken_at < self._least_gap_s:
            return
        hull = envelope(options)
        if hull:
            self._taken_at = now
            self._rows.append(_row(scale, hull))
            self._new += 1

    def reprice(self, price: Reprice) -> None:
        """Compute the cost of every option at new prices or estimates; drop candidates that are no longer on offer."""
        hulls = [(row.scale, envelope(_repriced(row.options, price))) for row in self._rows]
        self._rows.clear()
        self._rows.extend(_row(scale, hull) for scale, hull in hulls if hull)
        self._curve = None

    def curve(self) -> CostCurve | None:
        """Return the cost curve of these requests; None without requests. For speed, it may lack a few of many rows."""
        if not self._rows:
            return None
        if self._curve is None or self._new * MOST_LAG > len(self._rows):
            drops = chain.from_iterable(row.drops for row in self._rows)
            self._curve = CostCurve(drops, sum(row.first for row in self._rows), len(self._rows))
            self._new = 0
        return self._curve

    def state(self, most: int) -> list[list[Any]]:
        """Return the last `most` rows, for JSON."""
        rows = list(self._rows)[-most:]
        return [[None if math.isinf(row.scale) else row.scale, *map(list, row.options)] for row in rows]

    def restore(self, state: Sequence[Sequence[Any]]) -> None:
        """Take the rows of a `state()`. Raises TypeError or ValueError for anything else."""
        rows = [_read_row(scale, options) for scale, *options in state]
        self._rows.extend(rows)
        self._curve = None


class _CurveRow(NamedTuple):
    """A request: its envelope, its cost at lambda 0, and the lambdas where that cost falls."""

    scale: float
    options: tuple[Option, ...]
    first: int
    drops: tuple[tuple[float, int], ...]


def _row(scale: float, hull: Sequence[Option]) -> _CurveRow:
    if math.isinf(scale):  # an infinite scale: the cheapest option at any lambda
        return _CurveRow(scale, tuple(hull), hull[-1].cost, ())
    drops = tuple(
        (_slope(cheap, dear) / scale, dear.cost - cheap.cost)
        for dear, cheap in pairwise(hull)
        if scale > 0  # at scale 0 the best option is chosen at any lambda
    )
    return _CurveRow(scale, tuple(hull), hull[0].cost, drops)


def _slope(cheap: Option, dear: Option) -> float:
    """Return quality per nanodollar: the lambda at which the two options tie."""
    return (dear.quality - cheap.quality) / (dear.cost - cheap.cost)


def _repriced(options: Iterable[Option], price: Reprice) -> Iterator[Option]:
    for option in options:
        cost = price(option.candidate, option.input_tokens, option.output_tokens)
        if cost is not None:
            yield option._replace(cost=cost)


def _read_row(scale: Any, options: Sequence[Any]) -> _CurveRow:
    hull = envelope(_read_option(*values) for values in options)
    factor = math.inf if scale is None else float(scale)
    if not hull or not factor >= 0:
        raise ValueError(f"no request: {len(options)} options at {scale!r}")
    return _row(factor, hull)


def _read_option(name: Any, quality: Any, cost: Any, input_tokens: Any, output_tokens: Any) -> Option:
    option = Option(str(name), float(quality), int(cost), int(input_tokens), int(output_tokens))
    if not (math.isfinite(option.quality) and option.cost >= 0):
        raise ValueError(f"no option: {option}")
    return option
