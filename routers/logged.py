"""Judging by logged outcomes: a query that one candidate answered tells of the policies that would have chosen it.

Each cell stands for 1 / (its probability of being there), which is its `weight`; what a policy earns is the weighted
mean over the cells that it would have chosen: the self-normalised estimator of Hájek (Owen, "Monte Carlo theory,
methods and examples", 2013, section 9.2). Where all candidates answered every query and all weights are 1, that is
exactly what `routers.protocol.Shared` finds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from routers.base import Floats
from routers.metrics import Frontier, Singles, Trace, nauc, peak_score, quality_neutral_cost, trace
from routers.protocol import Decided, Shared, Worth
from routers.table import Mask, OutcomeTable

LEAST_SHARE = 0.2
"""A point of which cells tell less than this share of the queries is no point: a handful may all be right."""


@dataclass(frozen=True, slots=True, eq=False)
class LoggedTrace:
    """Decisions of a sweep among all that was on offer: the sums of weighted outcomes, and of the weights alone."""

    outcomes: Trace
    weights: Trace

    def frontier(self, weights: Floats | None = None) -> Frontier:
        """The means that the decisions realise, as far as cells tell. ValueError where they tell of none."""
        sums, shares = self.outcomes.frontier(weights), self.weights.frontier(weights).scores
        told = shares >= min(LEAST_SHARE, float(shares.max()))
        if not shares.max() > 0:
            raise ValueError("no cell tells of any decision")
        return Frontier(sums.penalties[told], sums.costs[told] / shares[told], sums.scores[told] / shares[told])


@dataclass(frozen=True, slots=True)
class Logged(Shared):
    """As `Shared`, on tables in which a query may show the outcome of one candidate of many."""

    name: str = "logged"

    def decide(self, quality: Floats, expected_cost: Floats, test: OutcomeTable) -> LoggedTrace:
        offered = on_offer(test)
        told = test.mask & ~np.isnan(test.cost_usd)
        weight = np.where(told, test.weights, 0.0)
        score, cost = (weight * np.where(told, values, 0.0) for values in (test.score, test.cost_usd))
        hidden = np.where(offered, 0.0, np.nan)  # what was not on offer is never chosen
        return LoggedTrace(
            outcomes=trace(quality, expected_cost, score + hidden, cost + hidden),
            weights=trace(quality, expected_cost, weight + hidden, weight + hidden),
        )

    def worth(self, decided: Decided, test: OutcomeTable, weights: Floats | None = None) -> Worth:
        frontier, singles = decided.frontier(weights), logged_singles(test, weights)
        return Worth(
            nauc=nauc(frontier, singles),
            peak_score=peak_score(frontier),
            qnc=quality_neutral_cost(frontier, singles),
            accuracy=float(frontier.scores[-1]),
        )


def measure_for(table: OutcomeTable) -> Shared:
    """`Shared` where every query shows every candidate and all count alike, else `Logged`."""
    return Shared() if table.mask.all() and table.unequal_weights is None else Logged()


def on_offer(table: OutcomeTable) -> Mask:
    """[n, K]: who could have been chosen. A logged query (one outcome, with a weight) could have gone to whoever any
    logged query went to; of the others, those that were asked are on offer.
    """
    logged = table.mask.sum(axis=1) == 1
    if table.weight is None:
        logged[:] = False
    else:
        logged &= ~np.isnan(np.where(table.mask, table.weight, 0.0)).any(axis=1)
    among = table.mask[logged].any(axis=0) if logged.any() else np.zeros(table.mask.shape[1], dtype=np.bool_)
    return np.where(logged[:, None], among[None, :], table.mask)


def logged_singles(table: OutcomeTable, weights: Floats | None = None) -> Singles:
    """Each candidate alone, by the cells that it has; `weights` [n] of the rows."""
    told = table.mask & ~np.isnan(table.cost_usd)
    counted = np.where(told, table.weights, 0.0) * (1.0 if weights is None else weights[:, None])
    counts = counted.sum(axis=0)
    counts = np.where(counts > 0, counts, np.nan)
    return Singles(
        costs=(counted * np.where(told, table.cost_usd, 0.0)).sum(axis=0) / counts,
        scores=(counted * np.where(told, table.score, 0.0)).sum(axis=0) / counts,
    )
