"""The metrics of routers: the exact cost-score frontier of their forecasts, and the errors of the forecasts.

Rule: a cell that was not observed is never chosen and never counted.

A router's forecast becomes decisions by `argmax_k quality - lambda * cost`. Each row's decision changes only
at the breakpoints of the upper envelope of its K lines, so the sweep visits only these breakpoints instead of a grid of
lambdas: exact, O(nK log nK). nAUC, P_s and QNC follow MMR-Bench, with one shared cost range for every router.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats

Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]

# Means of the same numbers over different rows differ by rounding: a difference below this is neither gap nor gain.
_NOISE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Frontier:
    """The points that a sweep realises, one per decision vector, from the cheapest (lambda = inf) to lambda = 0.

    Attributes:
        penalties: [m] the largest lambda for which the point holds; the first is inf.
        costs: [m] mean realised cost, USD per query.
        scores: [m] mean realised score.
    """

    penalties: Floats
    costs: Floats
    scores: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Every decision of a sweep: each row's first decision, then all changes in the order in which they happen.

    The frontier under other weights of the rows (a bootstrap's) can be computed from a trace without new decisions.

    Attributes:
        rows: [r] the row numbers that are judged.
        first_scores, first_costs: [r] the score and cost of the rows' first decisions.
        changed: [m] indices into `rows`, one per change.
        score_steps, cost_steps: [m] the amounts that a change adds to its row's score and cost.
        penalties: [m] lambda of the change, falling.
    """

    rows: Indices
    first_scores: Floats
    first_costs: Floats
    changed: Indices
    score_steps: Floats
    cost_steps: Floats
    penalties: Floats

    def frontier(self, weights: Floats | None = None) -> Frontier:
        """Return the means that the decisions realise; `weights` are [n], of the table's rows, 1 each if not given.

        Raises ValueError where all weights of the judged rows are 0.
        """
        weight = np.ones(len(self.rows)) if weights is None else weights[self.rows]
        total = weight.sum()
        if not total > 0:
            raise ValueError("no cell was observed")
        last_of_tie = np.append(self.penalties[1:] != self.penalties[:-1], True)[: len(self.penalties)]
        step_weight = weight[self.changed]
        scores = np.cumsum(step_weight * self.score_steps)[last_of_tie]
        costs = np.cumsum(step_weight * self.cost_steps)[last_of_tie]
        first_score, first_cost = weight @ self.first_scores, weight @ self.first_costs
        return Frontier(
            penalties=np.concatenate(([np.inf], self.penalties[last_of_tie])),
            costs=np.concatenate(([first_cost], first_cost + costs)) / total,
            scores=np.concatenate(([first_score], first_score + scores)) / total,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Singles:
    """The points of every candidate used alone, with which routers are compared.

    Attributes:
        costs: [K] mean cost over the rows where the candidate was observed; NaN where it never was.
        scores: [K] mean score over the same rows.
    """

    costs: Floats
    scores: Floats

    @property
    def best(self) -> int:
        """The candidate of the highest score; in a tie, the cheaper candidate."""
        ties = self.scores >= np.nanmax(self.scores) - _NOISE
        return int(np.argmin(np.where(ties, self.costs, np.inf)))

    @property
    def cheapest(self) -> int:
        """The candidate of the lowest cost; in a tie, the better candidate."""
        ties = self.costs <= np.nanmin(self.costs) * (1 + _NOISE)
        return int(np.argmax(np.where(ties, self.scores, -np.inf)))

    @property
    def cost_range(self) -> tuple[float, float]:
        """The shared cost range, from the cheapest single to the most expensive single."""
        return float(np.nanmin(self.costs)), float(np.nanmax(self.costs))


def single_points(score: Floats, cost: Floats, weights: Floats | None = None) -> Singles:
    """Return each candidate's point on its observed rows; `score`, `cost` are [n, K], NaN if missing, `weights` [n]."""
    observed = _observed(score, cost)
    weight = np.ones(len(score)) if weights is None else weights
    counts = weight @ observed
    counts = np.where(counts > 0, counts, np.nan)
    return Singles(
        costs=weight @ np.where(observed, cost, 0.0) / counts,
        scores=weight @ np.where(observed, score, 0.0) / counts,
    )


def sweep(quality: Floats, expected_cost: Floats, score: Floats, cost: Floats) -> Frontier:
    """Return the exact frontier of forecasts judged on outcomes; every array is [n, K]. See `trace`."""
    return trace(quality, expected_cost, score, cost).frontier()


def trace(quality: Floats, expected_cost: Floats, score: Floats, cost: Floats) -> Trace:
    """Return all decisions of forecasts judged on outcomes; every array is [n, K].

    `quality` and `expected_cost` decide; `score` and `cost` are the outcomes. Rows without any observed cell are left
    out. Raises ValueError where no cell is observed, or a forecast of an observed cell is not finite.
    """
    observed = _observed(score, cost)
    rows = np.flatnonzero(observed.any(axis=1))
    if not len(rows):
        raise ValueError("no cell was observed")
    observed = observed[rows]
    quality, expected_cost, score, cost = (array[rows] for array in (quality, expected_cost, score, cost))
    if not (np.isfinite(quality[observed]).all() and np.isfinite(expected_cost[observed]).all()):
        raise ValueError("a forecast is not finite")
    vertices, sizes = _envelopes(quality, expected_cost, observed)
    return _walk(rows, (vertices, sizes), (quality, expected_cost), (score, cost))


def nauc(frontier: Frontier, singles: Singles) -> float:
    """Return the area under the best score that each cost buys, over the shared cost range, 0 to 1.

    The curve is a step function: a cost buys the best point at or below this cost. The cheapest single can always be
    bought.
    """
    low, high = singles.cost_range
    anchor = singles.scores[singles.cheapest]
    if high - low <= _NOISE * high:
        return float(max(anchor, _best_within(frontier, high * (1 + _NOISE))))
    order = np.argsort(frontier.costs, kind="stable")
    inside = order[frontier.costs[order] <= high]
    costs = np.concatenate(([low], np.maximum(frontier.costs[inside], low), [high]))
    levels = np.maximum.accumulate(np.concatenate(([anchor], frontier.scores[inside])))
    return float(np.sum(levels * np.diff(costs)) / (high - low))


def peak_score(frontier: Frontier) -> float:
    """Return P_s, the highest score on the frontier."""
    return float(frontier.scores.max())


def quality_neutral_cost(frontier: Frontier, singles: Singles) -> float:
    """Return QNC, the least cost that reaches the best single's score, over that single's cost; inf if none does."""
    target = singles.scores[singles.best]
    reached = frontier.scores >= target - _NOISE
    if not reached.any():
        return float("inf")
    return float(frontier.costs[reached].min() / singles.costs[singles.best])


def log_loss(quality: Floats, score: Floats) -> float:
    """Return the mean cross-entropy of forecast quality against observed scores (0 to 1), in nats."""
    losses, cells = row_losses(quality, score)
    return float(losses.sum() / cells.sum())


def row_losses(quality: Floats, score: Floats) -> tuple[Floats, Floats]:
    """Return each row's summed cross-entropy [n], and the number of its observed cells [n]."""
    observed = ~np.isnan(score)
    forecast = np.clip(np.where(observed, quality, 0.5), 1e-6, 1 - 1e-6)
    truth = np.where(observed, score, 0.0)
    losses = -(truth * np.log(forecast) + (1 - truth) * np.log1p(-forecast))
    return np.where(observed, losses, 0.0).sum(axis=1), observed.sum(axis=1).astype(np.float64)


def calibration_error(quality: Floats, score: Floats, bins: int = 15) -> float:
    """Return ECE, the mean gap between forecast and observed score over equal-width bins, weighted by their cells."""
    cells = int((~np.isnan(score)).sum())
    return float(np.abs(row_gaps(quality, score, bins).sum(axis=0)).sum() / cells)


def row_gaps(quality: Floats, score: Floats, bins: int = 15) -> Floats:
    """Return [n, bins] forecast minus observed score, summed over a row's observed cells with forecasts in the bin."""
    row, column = np.nonzero(~np.isnan(score))
    forecast = quality[row, column]
    bucket = np.clip((forecast * bins).astype(np.intp), 0, bins - 1)
    gaps = np.bincount(row * bins + bucket, forecast - score[row, column], minlength=len(score) * bins)
    return np.asarray(gaps.reshape(len(score), bins), dtype=np.float64)


def choices(quality: Floats, expected_cost: Floats, observed: Mask, penalty: float) -> Indices:
    """Return [n] the observed candidate of the highest `quality - penalty * cost`; in a tie, the cheaper candidate."""
    value = np.where(observed, quality - penalty * expected_cost, -np.inf)
    best = value == value.max(axis=1, keepdims=True)
    priced = np.where(best & observed, expected_cost, np.inf)
    return np.asarray(np.argmin(priced, axis=1), dtype=np.intp)


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the sample standard deviation over seeds."""
    array = np.asarray(values, dtype=np.float64)
    spread = float(array.std(ddof=1)) if len(array) > 1 and np.isfinite(array).all() else float("nan")
    return float(array.mean()), spread


def _observed(score: Floats, cost: Floats) -> Mask:
    observed: Mask = ~np.isnan(score) & ~np.isnan(cost)
    return observed


def _best_within(frontier: Frontier, cost: float) -> float:
    inside = frontier.scores[frontier.costs <= cost]
    return float(inside.max()) if len(inside) else -np.inf


def _envelopes(quality: Floats, expected_cost: Floats, observed: Mask) -> tuple[Indices, Indices]:
    """Return each row's upper hull over (cost, quality): candidates [n, K] from cheap to expensive, and their number.

    This is Andrew's monotone chain for all rows at once: a candidate is pushed once and popped at most once, and
    only rows with something to pop are visited again.
    """
    rows, width = quality.shape
    priced = np.where(observed, expected_cost, np.inf)
    order = np.lexsort((-quality, priced), axis=1)
    stack = np.zeros((rows, width), dtype=np.intp)
    sizes = np.zeros(rows, dtype=np.intp)
    for place in range(width):
        pushed = order[:, place]
        live = np.flatnonzero(observed[np.arange(rows), pushed])
        if len(live):
            top = stack[live, sizes[live] - 1]
            better = (sizes[live] == 0) | (quality[live, pushed[live]] > quality[live, top])
            live = live[better]
        active = live[sizes[live] > 0]
        while len(active):
            active = active[_is_below(stack, sizes, active, pushed[active], (quality, expected_cost))]
            sizes[active] -= 1
            active = active[sizes[active] > 0]
        stack[live, sizes[live]] = pushed[live]
        sizes[live] += 1
    return stack, sizes


def _is_below(stack: Indices, sizes: Indices, rows: Indices, pushed: Indices, forecasts: tuple[Floats, Floats]) -> Mask:
    """Return where the hull's last candidate lies on or under the line from the candidate before it to the new one."""
    quality, cost = forecasts
    last = stack[rows, sizes[rows] - 1]
    before = stack[rows, np.maximum(sizes[rows] - 2, 0)]
    gain_to_last = quality[rows, last] - quality[rows, before]
    gain_to_new = quality[rows, pushed] - quality[rows, before]
    cost_to_last = cost[rows, last] - cost[rows, before]
    cost_to_new = cost[rows, pushed] - cost[rows, before]
    below = (sizes[rows] > 1) & (gain_to_last * cost_to_new <= gain_to_new * cost_to_last)
    same_cost = cost[rows, last] == cost[rows, pushed]
    return np.asarray(below | same_cost, dtype=np.bool_)


def _walk(
    numbers: Indices, hulls: tuple[Indices, Indices], forecasts: tuple[Floats, Floats], outcomes: tuple[Floats, Floats]
) -> Trace:
    """Return the trace as lambda falls from infinity: rows step along their hulls in the order of all breakpoints."""
    vertices, sizes = hulls
    quality, expected = forecasts
    score, cost = outcomes
    rows = np.arange(len(sizes))
    first = vertices[:, 0]
    row, step = np.nonzero(np.arange(1, vertices.shape[1])[None, :] < sizes[:, None])
    before, after = vertices[row, step], vertices[row, step + 1]
    gain = quality[row, after] - quality[row, before]
    penalty = gain / (expected[row, after] - expected[row, before])
    order = np.argsort(-penalty, kind="stable")
    return Trace(
        rows=numbers,
        first_scores=score[rows, first],
        first_costs=cost[rows, first],
        changed=row[order],
        score_steps=(score[row, after] - score[row, before])[order],
        cost_steps=(cost[row, after] - cost[row, before])[order],
        penalties=penalty[order],
    )
