"""The comparison of routing with no routing, on the labelled requests of a window: the score and cost of routing, and
of each single candidate.

For each request only the outcome of the candidate that served it was seen. For the others the router's forecast is
used. If the choice was drawn at random, the forecast's error on the seen outcomes is added back in proportion to how
rarely they are drawn: the doubly robust estimate (Dudik et al. 2011), self-normalised. Without exploration (propensity
1) the comparison relies on the forecasts alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats
from routers.evaluation.metrics import nauc, peak_score, quality_neutral_cost, single_points, trace
from routers.evaluation.off_policy import corrected, importance

ALL = "all"
EVERY_S = 30.0
FIRST_S = 5.0
"""Seconds between checks for enough rows, until there are enough."""
WINDOW_S = 24 * 3600.0
FEWEST_ROWS = 100
FEWEST_OF_ONE = 10
"""With fewer rows of a candidate its forecasts are used uncorrected."""
MOST_ROWS = 5_000
MOST_TENANTS = 10
LARGEST_WEIGHT = 20.0
"""The largest weight of one row: a choice drawn more rarely than that counts no more than this."""


class LabelledRow(NamedTuple):
    """A served request that has a score.

    Attributes:
        score: 0 to 1; `cost_usd`: as billed.
        propensity: the probability with which the candidate was chosen; 1 if nothing was drawn.
        label_probability: the probability with which the row was chosen for labelling.
        forecasts: per candidate that could have served: quality and expected cost in USD; empty if it was not routed.
    """

    tenant: str
    candidate: str
    score: float
    cost_usd: float
    propensity: float
    label_probability: float
    forecasts: Mapping[str, tuple[float, float]]


class LabelledRows(Protocol):
    """A source of labelled requests."""

    def labelled_rows(self, since: float, limit: int) -> Sequence[LabelledRow]:
        """Return the newest `limit` rows that began after `since` (seconds since the epoch). Called in a thread."""
        ...


@dataclass(frozen=True, slots=True)
class Point:
    """The mean score and the mean cost in USD of a request."""

    score: float
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of comparing rows.

    Attributes:
        rows: how many rows were compared; `explored`: how many of them had a drawn choice.
        routed: the requests as they were routed.
        singles: each candidate alone.
        nauc, peak_score, qnc: figures of the frontier of the router's forecasts; `qnc` is None if no point reaches
            the best single's score.
    """

    rows: int
    explored: int
    routed: Point
    singles: Mapping[str, Point]
    best: str
    cheapest: str
    dearest: str
    nauc: float
    peak_score: float
    qnc: float | None


def compare(rows: Sequence[LabelledRow]) -> Comparison | None:
    """Compare routing with single candidates. Returns None if fewer than `FEWEST_ROWS` requests were routed."""
    rows = [row for row in rows if row.candidate in row.forecasts and row.propensity > 0 and row.label_probability > 0]
    if len(rows) < FEWEST_ROWS:
        return None
    names = sorted({name for row in rows for name in row.forecasts})
    weights = np.minimum(1 / np.array([row.label_probability for row in rows]), LARGEST_WEIGHT)
    quality, expected, score, cost = _cells(rows, names, weights)
    singles = single_points(score, cost, weights)
    frontier = trace(quality, expected, score, cost).frontier(weights)
    frontier = replace(frontier, scores=np.clip(frontier.scores, 0, 1))  # estimates of means from 0 to 1
    singles = replace(singles, scores=np.clip(singles.scores, 0, 1))
    qnc = quality_neutral_cost(frontier, singles)
    points = {name: Point(float(singles.scores[k]), float(singles.costs[k])) for k, name in enumerate(names)}
    return Comparison(
        rows=len(rows),
        explored=sum(row.propensity < 1 for row in rows),
        routed=_routed(rows, weights),
        singles=points,
        best=names[singles.best],
        cheapest=names[singles.cheapest],
        dearest=names[int(np.nanargmax(singles.costs))],
        nauc=nauc(frontier, singles),
        peak_score=peak_score(frontier),
        qnc=qnc if math.isfinite(qnc) else None,
    )


def _routed(rows: Sequence[LabelledRow], weights: Floats) -> Point:
    score = np.average([row.score for row in rows], weights=weights)
    return Point(float(score), float(np.average([row.cost_usd for row in rows], weights=weights)))


def _cells(rows: Sequence[LabelledRow], names: Sequence[str], labels: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return forecast quality, forecast cost, estimated score and estimated cost, each [n, K].

    The score is doubly robust; the cost is the forecast times billed over forecast. NaN where a candidate could not
    have served.
    """
    column = {name: k for k, name in enumerate(names)}
    quality, expected = np.full((2, len(rows), len(names)), np.nan)
    for i, row in enumerate(rows):
        for name, (forecast, usd) in row.forecasts.items():
            quality[i, column[name]], expected[i, column[name]] = forecast, usd
    served = np.array([column[row.candidate] for row in rows])
    cells = np.arange(len(rows)), served
    seen = _weights(np.array([row.propensity for row in rows]), labels, served)
    score, cost = quality.copy(), expected.copy()
    score[cells] = corrected(np.array([row.score for row in rows]), seen, quality[cells], quality[cells])
    billed = np.array([row.cost_usd for row in rows])
    for k in np.unique(served):
        own = served == k
        weight, forecast = labels[own] * seen[own], expected[own, k]
        if own.sum() >= FEWEST_OF_ONE and weight @ forecast > 0:
            cost[:, k] *= (weight @ billed[own]) / (weight @ forecast)
    return quality, expected, score, cost


def _weights(propensity: Floats, labels: Floats, served: NDArray[np.intp]) -> Floats:
    """Return [n]: the weight of the error on each seen outcome.

    For drawn choices the weight is 1 / propensity. For each candidate these are scaled so that, with the rows' own
    weights, they sum to the weights of all drawn rows: they do so on average, and the estimate is far steadier. For a
    candidate that was drawn only a few times, only those rows are corrected.
    """
    weights: Floats = np.minimum(importance(np.ones_like(propensity), propensity), LARGEST_WEIGHT)
    drawn = propensity < 1
    for k in np.unique(served[drawn]):
        own = drawn & (served == k)
        if own.sum() >= FEWEST_OF_ONE:
            weights[own] *= labels[drawn].sum() / (labels[own] @ weights[own])
        else:
            weights[own] = 1.0
    return weights
