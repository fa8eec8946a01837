"""MMR-Bench's published protocol, reproduced exactly: `loupe bench --protocol paper`.

Follows the code that was published with "MMR-Bench: A Comprehensive Benchmark for Multimodal LLM Routing"
(arXiv 2601.17814, github.com/Hunter-Wrynn/MMR-Bench, `eval.py` and the routers' `evaluate_under_cost`), for
comparison with its Table 2. What differs from `routers.evaluation.metrics`, each as published:

* Candidates are in the order of their names.
* The sweep varies a cap on one query's *predicted* cost; the cap takes every predicted cost of the test set in turn. At
  a cap, each row gets the candidate of the highest forecast among the candidates predicted to cost no more. Ties go to
  the first name, not to the cheaper candidate. A row without a feasible candidate gets the first name (`argmax` of
  minus infinities); it is not refused.
* A point is the mean realised cost and score; the frontier keeps the points that score more than all cheaper points.
* nAUC is the trapezoid area under that frontier over *the frontier's own* cost range, undefined below two points.
  P_s is its highest score. QNC is the cost of its first point that reaches the best single, over that single's
  mean cost; inf where no point does. In a tie, the best single is the first name.
* The oracle is capped on true costs and knows true scores. Chance is 50 draws of a candidate per row
  (`default_rng(42).integers`); each draw is a point.

Three things are Loupe's own. The published code fills a missing cell with its column's mean over training and test
rows; here a row with a missing cell is left out, so nothing is invented. In the published code, each router forecasts
cost by its own kind of regression; here a candidate's cost is the least-squares line in its output tokens, which every
router forecasts. Splits are grouped here, as everywhere in Loupe; the published splits are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from routers.base import Floats, Forecast
from routers.evaluation.metrics import Frontier, Indices, Trace
from routers.evaluation.protocol import PolicyDecisions, Worth
from routers.table.outcome_table import OutcomeTable
from routers.table.summary import column_means

DRAWS, DRAW_SEED = 50, 42

# A gain below this comes from rounding and is not a higher score.
_NOISE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class CapSweep:
    """Decisions while the cap rises; in the trace, a row's first decision holds before the cap admits any candidate."""

    trace: Trace

    def frontier(self, weights: Floats | None = None) -> Frontier:
        """Return one point per cap, from the lowest; `penalties` are the caps, negated, so that they fall."""
        whole = self.trace.frontier(weights)
        return Frontier(penalties=whole.penalties[1:], costs=whole.costs[1:], scores=whole.scores[1:])


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Random choices: the scores and costs [t, r] of t draws on the r judged rows."""

    rows: Indices
    scores: Floats
    costs: Floats

    def frontier(self, weights: Floats | None = None) -> Frontier:
        """Return one point per draw, all with the same penalty. Raises ValueError where the rows' weights are all 0."""
        weight = np.ones(len(self.rows)) if weights is None else weights[self.rows]
        total = weight.sum()
        if not total > 0:
            raise ValueError("no row has all its cells")
        return Frontier(np.zeros(len(self.scores)), self.costs @ weight / total, self.scores @ weight / total)


@dataclass(frozen=True, slots=True)
class Paper:
    """The published protocol; implements `routers.evaluation.protocol.Measure`."""

    name: str = "paper"

    def expected_cost(self, known: OutcomeTable, forecast: Forecast) -> Floats:
        """Return [n, K] predicted costs: each candidate's line in output tokens, at the forecast output tokens."""
        lines = [_line(tokens, cost) for tokens, cost in zip(known.output_tokens.T, known.cost_usd.T, strict=True)]
        fallback = column_means(known.cost_usd)
        columns = [
            np.full(len(forecast.quality), fallback[column]) if line is None else line[0] + line[1] * tokens
            for column, (line, tokens) in enumerate(zip(lines, forecast.output_tokens.T, strict=True))
        ]
        return np.asarray(np.maximum(np.stack(columns, axis=1), 0.0), dtype=np.float64)

    def decide(self, quality: Floats, expected_cost: Floats, test: OutcomeTable) -> CapSweep:
        """Return the decisions at all caps. Raises ValueError where a forecast is not finite or no row is complete."""
        order, rows = _order(test), _whole_rows(test)
        quality, predicted, score, cost = (
            values[np.ix_(rows, order)] for values in (quality, expected_cost, test.score, test.cost_usd)
        )
        if not (np.isfinite(quality).all() and np.isfinite(predicted).all()):
            raise ValueError("a forecast is not finite")
        return CapSweep(_raise_cap(rows, (quality, predicted), (score, cost)))

    def oracle(self, test: OutcomeTable, _expected_cost: Floats, /) -> CapSweep:
        """Return the decisions by true scores, capped on what each candidate really cost instead of expected costs."""
        return self.decide(np.nan_to_num(test.score), np.nan_to_num(test.cost_usd), test)

    def chance(self, test: OutcomeTable) -> Draws:
        order, rows = _order(test), _whole_rows(test)
        random = np.random.default_rng(DRAW_SEED)
        drawn = np.stack([random.integers(0, len(order), size=len(rows)) for _ in range(DRAWS)])
        places = np.arange(len(rows))[None, :]
        score, cost = (values[np.ix_(rows, order)] for values in (test.score, test.cost_usd))
        return Draws(rows=rows, scores=score[places, drawn], costs=cost[places, drawn])

    def worth(self, decided: PolicyDecisions, test: OutcomeTable, weights: Floats | None = None) -> Worth:
        points = decided.frontier(weights)
        costs, scores = _kept(points)
        rows, order = _whole_rows(test), _order(test)
        weight = np.ones(len(rows)) if weights is None else weights[rows]
        singles = weight @ test.score[np.ix_(rows, order)] / weight.sum()
        best = int(np.argmax(singles))
        best_cost = float(weight @ test.cost_usd[rows, order[best]] / weight.sum())
        reached = np.flatnonzero(scores >= singles[best] - _NOISE)
        return Worth(
            nauc=_own_area(costs, scores),
            peak_score=float(scores[-1]),
            qnc=float(costs[reached[0]] / best_cost) if len(reached) and best_cost > 0 else float("inf"),
            accuracy=float(points.scores[points.penalties == points.penalties[-1]].mean()),
        )


def _order(test: OutcomeTable) -> Indices:
    """Return the columns in the order of their candidates' names."""
    return np.array(sorted(range(len(test.candidates)), key=lambda column: test.candidates[column]), dtype=np.intp)


def _whole_rows(test: OutcomeTable) -> Indices:
    whole = np.flatnonzero((test.mask & ~np.isnan(test.cost_usd)).all(axis=1))
    if not len(whole):
        raise ValueError("no row has all its cells, and the paper's protocol needs them")
    return whole


def _raise_cap(rows: Indices, forecasts: tuple[Floats, Floats], outcomes: tuple[Floats, Floats]) -> Trace:
    """Return the trace as the cap rises through all predicted costs: candidates become feasible, the cheapest first."""
    quality, predicted = forecasts
    score, cost = outcomes
    everyone = np.arange(len(rows))
    admitted = np.argsort(predicted, axis=1, kind="stable")
    held = np.zeros(len(rows), dtype=np.intp)  # before anything is feasible, the first name
    best = np.full(len(rows), -np.inf)
    changed, caps, score_steps, cost_steps = [], [], [], []
    for place in range(quality.shape[1]):
        new = admitted[:, place]
        value = quality[everyone, new]
        row = np.flatnonzero((value > best) | ((value == best) & (new < held)))
        changed.append(row)
        caps.append(predicted[row, new[row]])
        score_steps.append(score[row, new[row]] - score[row, held[row]])
        cost_steps.append(cost[row, new[row]] - cost[row, held[row]])
        held[row], best[row] = new[row], value[row]
    cap = np.concatenate(caps)
    order = np.argsort(cap, kind="stable")
    return Trace(
        rows=rows,
        first_scores=score[:, 0],
        first_costs=cost[:, 0],
        changed=np.concatenate(changed)[order],
        score_steps=np.concatenate(score_steps)[order],
        cost_steps=np.concatenate(cost_steps)[order],
        penalties=-cap[order],
    )


def _kept(points: Frontier) -> tuple[Floats, Floats]:
    """Return the costs and scores of the points that score more than every cheaper point."""
    order = np.lexsort((-points.scores, points.costs))
    costs, scores = points.costs[order], points.scores[order]
    above = np.maximum.accumulate(np.concatenate(([-np.inf], scores[:-1])))
    kept = scores > above + _NOISE
    return costs[kept], scores[kept]


def _own_area(costs: Floats, scores: Floats) -> float:
    if len(costs) < 2 or costs[-1] - costs[0] <= _NOISE * costs[-1]:
        return float("nan")
    area = np.sum(np.diff(costs) * (scores[1:] + scores[:-1]) / 2)
    return float(area / (costs[-1] - costs[0]))


def _line(tokens: Floats, cost: Floats) -> tuple[float, float] | None:
    """Return offset and slope of cost in tokens over observed cells; None where tokens do not vary or are too few."""
    seen = ~np.isnan(tokens) & ~np.isnan(cost)
    if seen.sum() < 2:
        return None
    centred = tokens[seen] - tokens[seen].mean()
    energy = float(centred @ centred)
    if not energy > 0:
        return None
    slope = max(float(centred @ cost[seen]) / energy, 0.0)
    return float(cost[seen].mean() - slope * tokens[seen].mean()), slope
