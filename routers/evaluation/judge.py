"""The figures of policies on one test set: a router, chance, the best single candidate and the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from routers.base import Forecast
from routers.evaluation.metrics import calibration_error, log_loss
from routers.evaluation.protocol import Measure, PolicyDecisions
from routers.table.outcome_table import OutcomeTable
from routers.table.summary import column_means, column_quantiles

BASELINES = ("random", "best_single", "oracle")


@dataclass(frozen=True, slots=True)
class Judgement:
    """The figures of one policy on one test set; NaN where a figure has no meaning (an oracle forecasts nothing).

    Attributes:
        nauc, peak_score, qnc: as the protocol defines them.
        accuracy: realised score when cost does not count.
        log_loss, ece: errors of the forecast quality.
        token_coverage: share of replies no longer than the forecast 90% quantile.
    """

    nauc: float
    peak_score: float
    qnc: float
    accuracy: float
    log_loss: float = float("nan")
    ece: float = float("nan")
    token_coverage: float = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """A policy's decisions on a test set and, if it forecasts, its forecasts [n, K], with the shape of the test."""

    name: str
    decided: PolicyDecisions
    forecast: Forecast | None = None


def routed(name: str, forecast: Forecast, sides: tuple[OutcomeTable, OutcomeTable], measure: Measure) -> Policy:
    """Return the policy of a router's forecast; `sides` are the tables that it learned from and is judged on."""
    known, test = sides
    return Policy(name, measure.decide(forecast.quality, measure.expected_cost(known, forecast), test), forecast)


def baselines(known: OutcomeTable, test: OutcomeTable, measure: Measure) -> Iterator[Policy]:
    """Yield the `BASELINES` in their order. The best single knows the candidates' training means and no query."""
    yield Policy("random", measure.chance(test))
    blind = _blind(known, len(test))
    best_single = routed("best_single", blind, (known, test), measure)
    yield best_single
    yield Policy("oracle", measure.oracle(test, measure.expected_cost(known, blind)))


def judge(policy: Policy, test: OutcomeTable, measure: Measure) -> Judgement:
    """Return the figures of one policy."""
    worth = measure.worth(policy.decided, test)
    if policy.forecast is None:
        return Judgement(worth.nauc, worth.peak_score, worth.qnc, worth.accuracy)
    counted = ~np.isnan(test.output_tokens)
    covered = test.output_tokens[counted] <= policy.forecast.output_tokens_high[counted]
    return Judgement(
        nauc=worth.nauc,
        peak_score=worth.peak_score,
        qnc=worth.qnc,
        accuracy=worth.accuracy,
        log_loss=log_loss(policy.forecast.quality, test.score),
        ece=calibration_error(policy.forecast.quality, test.score),
        token_coverage=float(covered.mean()) if len(covered) else float("nan"),
    )


def of_candidates(forecast: Forecast, columns: np.ndarray) -> Forecast:
    """Return the forecast of the candidates in these columns."""
    return Forecast(
        quality=forecast.quality[:, columns],
        quality_std=forecast.quality_std[:, columns],
        output_tokens=forecast.output_tokens[:, columns],
        output_tokens_high=forecast.output_tokens_high[:, columns],
    )


def _blind(known: OutcomeTable, rows: int) -> Forecast:
    quality = np.tile(column_means(known.score), (rows, 1))
    return Forecast(
        quality=quality,
        quality_std=np.zeros_like(quality),
        output_tokens=np.tile(column_means(known.output_tokens), (rows, 1)),
        output_tokens_high=np.tile(column_quantiles(known.output_tokens), (rows, 1)),
    )
