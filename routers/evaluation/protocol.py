"""The contract of `loupe bench --protocol`: how forecasts become decisions, and how decisions are judged.

`SharedSweep` is Loupe's own protocol: MMR-Bench's figures on the exact frontier over one cost range for every router
(`routers.evaluation.metrics`). `routers.evaluation.paper_protocol` has the published definitions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from routers.base import Floats, Forecast
from routers.evaluation.metrics import Frontier, Trace, nauc, peak_score, quality_neutral_cost, single_points, trace
from routers.table.outcome_table import OutcomeTable
from routers.table.summary import column_means


@dataclass(frozen=True, slots=True)
class Worth:
    """The figures of a frontier; `accuracy` is the score where cost does not count (lambda = 0, or no cap)."""

    nauc: float
    peak_score: float
    qnc: float
    accuracy: float


class PolicyDecisions(Protocol):
    """A policy's decisions on one test set."""

    def frontier(self, weights: Floats | None = None) -> Frontier:
        """Return the points that the decisions realise; `weights` are [n], of the test rows.

        Raises ValueError where all weights of the judged rows are 0.
        """
        ...


class Measure(Protocol):
    """A protocol of judgement. Forecasts and test tables have the same candidates, in the same order."""

    @property
    def name(self) -> str: ...

    def expected_cost(self, known: OutcomeTable, forecast: Forecast) -> Floats:
        """Return [n, K] the USD that decisions take into account, from training rows and the forecast."""
        ...

    def decide(self, quality: Floats, expected_cost: Floats, test: OutcomeTable) -> PolicyDecisions:
        """Return the decisions of a router with these forecasts."""
        ...

    def oracle(self, test: OutcomeTable, expected_cost: Floats, /) -> PolicyDecisions:
        """Return the decisions of a router that knows every score."""
        ...

    def chance(self, test: OutcomeTable) -> PolicyDecisions:
        """Return the decisions of drawing candidates at random."""
        ...

    def worth(self, decided: PolicyDecisions, test: OutcomeTable, weights: Floats | None = None) -> Worth:
        """Return the figures: NaN if the protocol leaves one undefined, QNC inf if the best single is not reached."""
        ...


@dataclass(frozen=True, slots=True)
class SharedSweep:
    """An exact sweep of `quality - lambda * expected cost`; the cost range is that of the singles on the test rows."""

    name: str = "shared"

    def expected_cost(self, known: OutcomeTable, forecast: Forecast) -> Floats:
        """Return each candidate's mean cost in the training rows, for every query."""
        return np.tile(column_means(known.cost_usd), (len(forecast.quality), 1))

    def decide(self, quality: Floats, expected_cost: Floats, test: OutcomeTable) -> PolicyDecisions:
        return trace(quality, expected_cost, test.score, test.cost_usd)

    def oracle(self, test: OutcomeTable, _expected_cost: Floats, /) -> Trace:
        """Return the decisions that know each reply's score and cost: among equal scores, the cheapest candidate."""
        score, cost = np.nan_to_num(test.score), np.nan_to_num(test.cost_usd)
        return trace(score, cost, test.score, test.cost_usd)

    def chance(self, test: OutcomeTable) -> Trace:
        """Return the expectation of a fair draw among each query's observed candidates, which is one point."""
        observed = test.mask & ~np.isnan(test.cost_usd)
        rows = np.flatnonzero(observed.any(axis=1))
        counts = observed[rows].sum(axis=1)
        nothing = np.zeros(0)
        return Trace(
            rows=rows,
            first_scores=np.where(observed, test.score, 0.0)[rows].sum(axis=1) / counts,
            first_costs=np.where(observed, test.cost_usd, 0.0)[rows].sum(axis=1) / counts,
            changed=nothing.astype(np.intp),
            score_steps=nothing,
            cost_steps=nothing,
            penalties=nothing,
        )

    def worth(self, decided: PolicyDecisions, test: OutcomeTable, weights: Floats | None = None) -> Worth:
        frontier = decided.frontier(weights)
        singles = single_points(test.score, test.cost_usd, weights)
        return Worth(
            nauc=nauc(frontier, singles),
            peak_score=peak_score(frontier),
            qnc=quality_neutral_cost(frontier, singles),
            accuracy=float(frontier.scores[-1]),
        )
