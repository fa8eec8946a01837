"""How forecasts become decisions and what those are worth: the contract of `loupe bench --protocol`.

`SharedSweep` is Loupe's own: MMR-Bench's figures on the exact frontier over one cost range for every router
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
    """What a frontier is worth; `accuracy` is the score where cost does not count (lambda = 0, or no cap)."""

    nauc: float
    peak_score: float
    qnc: float
    accuracy: float


class PolicyDecisions(Protocol):
    """A policy's decisions on one test set."""

    def frontier(self, weights: Floats | None = None) -> Frontier:
        """The points that the decisions realise; `weights` [n] of the test rows. ValueError: they weigh nothing."""
        ...


class Measure(Protocol):
    """A protocol of judgement. Forecasts and tests have the same candidates, in the same order."""

    @property
    def name(self) -> str: ...

    def expected_cost(self, known: OutcomeTable, forecast: Forecast) -> Floats:
        """[n, K] USD that decisions weigh, from training rows and the forecast."""
        ...

    def decide(self, quality: Floats, expected_cost: Floats, test: OutcomeTable) -> PolicyDecisions:
        """What a router of these forecasts does."""
        ...

    def oracle(self, test: OutcomeTable, expected_cost: Floats, /) -> PolicyDecisions:
        """What a router that knows every score does."""
        ...

    def chance(self, test: OutcomeTable) -> PolicyDecisions:
        """What drawing candidates at random does."""
        ...

    def worth(self, decided: PolicyDecisions, test: OutcomeTable, weights: Floats | None = None) -> Worth:
        """The figures; NaN where the protocol leaves one undefined, QNC inf where the best single is never reached."""
        ...


@dataclass(frozen=True, slots=True)
class SharedSweep:
    """Exact sweep of `quality - lambda * expected cost`; the cost range is that of the singles on the test rows."""

    name: str = "shared"

    def expected_cost(self, known: OutcomeTable, forecast: Forecast) -> Floats:
        """What is expected of a candidate is the mean cost that training saw, whatever the query."""
        return np.tile(column_means(known.cost_usd), (len(forecast.quality), 1))

    def decide(self, quality: Floats, expected_cost: Floats, test: OutcomeTable) -> PolicyDecisions:
        return trace(quality, expected_cost, test.score, test.cost_usd)

    def oracle(self, test: OutcomeTable, _expected_cost: Floats, /) -> Trace:
        """It knows what each reply scores and what it costs: among equal scores the one that costs least."""
        score, cost = np.nan_to_num(test.score), np.nan_to_num(test.cost_usd)
        return trace(score, cost, test.score, test.cost_usd)

    def chance(self, test: OutcomeTable) -> Trace:
        """A fair draw among each query's observed candidates: one point, in expectation."""
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
