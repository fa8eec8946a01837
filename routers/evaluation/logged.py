"""Judging by logged outcomes: a query that one candidate answered helps to judge policies that choose this candidate.

Doubly robust (Dudik, Langford and Li, "Doubly Robust Policy Evaluation and Learning", ICML 2011): a forecast replaces
each missing outcome, and each observed outcome corrects the forecasts of its candidate by their error times its weight,
which is 1 / (its probability of being observed). The result is right on average whatever is forecast, if the forecasts
were not learned from these outcomes. Where all candidates answered every query and all weights are 1, the result is
exactly that of `routers.evaluation.protocol.SharedSweep`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from routers.base import Floats
from routers.evaluation.metrics import Singles, nauc, peak_score, quality_neutral_cost, single_points, trace
from routers.evaluation.off_policy import corrected
from routers.evaluation.protocol import PolicyDecisions, SharedSweep, Worth
from routers.table.outcome_table import Mask, OutcomeTable
from routers.table.summary import column_means


@dataclass(frozen=True, slots=True, eq=False)
class FilledOutcomes:
    """Outcomes [n, K] of all candidates on offer, NaN for the others. Scores may lie outside 0 to 1; means do not."""

    score: Floats
    cost_usd: Floats

    @classmethod
    def of(cls, table: OutcomeTable, predicted: Floats) -> FilledOutcomes:
        """Fill missing scores with `predicted` [n, K], and missing costs with each candidate's mean cost."""
        offered, told = on_offer(table), table.mask & ~np.isnan(table.cost_usd)
        weight = _to_scale(np.where(told, table.weights, 0.0), offered, logged_rows(table))
        costs = np.tile(column_means(table.cost_usd), (len(table), 1))
        return cls(
            score=_corrected(predicted, table.score, weight, offered),
            cost_usd=_corrected(costs, table.cost_usd, weight, offered),
        )

    @property
    def singles(self) -> Singles:
        """The points of the candidates used alone."""
        return single_points(self.score, self.cost_usd)


@dataclass(frozen=True, slots=True, eq=False)
class LoggedSweep(SharedSweep):
    """A `SharedSweep` for tables in which a query may show the outcome of only one candidate of many.

    `filled` holds the outcomes of all candidates.
    """

    filled: FilledOutcomes | None = None
    name: str = "logged"

    def decide(self, quality: Floats, expected_cost: Floats, test: OutcomeTable) -> PolicyDecisions:
        filled = self._filled(test)
        return trace(quality, expected_cost, filled.score, filled.cost_usd)

    def worth(self, decided: PolicyDecisions, test: OutcomeTable, weights: Floats | None = None) -> Worth:
        filled = self._filled(test)
        frontier, singles = decided.frontier(weights), single_points(filled.score, filled.cost_usd, weights)
        return Worth(
            nauc=nauc(frontier, singles),
            peak_score=peak_score(frontier),
            qnc=quality_neutral_cost(frontier, singles),
            accuracy=float(frontier.scores[-1]),
        )

    def _filled(self, test: OutcomeTable) -> FilledOutcomes:
        if self.filled is None or self.filled.score.shape != test.score.shape:
            raise ValueError("what is filled in is of another table")
        return self.filled


def measure_for(table: OutcomeTable, predicted: Floats) -> SharedSweep:
    """Return `SharedSweep` where no query is a logged query and all cells count the same, else `LoggedSweep`."""
    if table.unequal_weights is None and not logged_rows(table).any():
        return SharedSweep()
    return LoggedSweep(filled=FilledOutcomes.of(table, predicted))


def logged_rows(table: OutcomeTable) -> Mask:
    """Return [n] the mask of logged queries: those with exactly one outcome, whose weight is given."""
    if table.weight is None:
        return np.zeros(len(table), dtype=np.bool_)
    said = (table.mask & ~np.isnan(table.weight)).any(axis=1)
    return np.asarray((table.mask.sum(axis=1) == 1) & said, dtype=np.bool_)


def on_offer(table: OutcomeTable) -> Mask:
    """Return [n, K] the mask of candidates that could have been chosen.

    A logged query could have gone to every candidate that any logged query went to. For the other queries, the
    candidates that were asked are on offer.
    """
    logged = logged_rows(table)
    among = table.mask[logged].any(axis=0, keepdims=True)
    return np.where(logged[:, None], among, table.mask)


def _to_scale(weight: Floats, offered: Mask, logged: Mask) -> Floats:
    """Return weights scaled on logged cells so that each candidate's weights sum to the queries that offered it.

    So labels that are given with an unknown probability do not change the result.
    """
    found = weight.copy()
    sums = weight[logged].sum(axis=0)
    found[logged] *= np.where(sums > 0, offered[logged].sum(axis=0) / np.where(sums > 0, sums, 1.0), 0.0)
    return found


def _corrected(predicted: Floats, seen: Floats, weight: Floats, offered: Mask) -> Floats:
    rewards = np.where(weight > 0, seen, predicted)
    return np.where(offered, corrected(rewards, weight, predicted, predicted), np.nan)
