"""Held-out judgement of an algorithm beside what it must beat: the best single candidate, chance and the oracle.

A table may be the union of several (`parts`): the router learns from all of it and is judged on each part by
itself, among the candidates that part observed, since candidates seen on different queries cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np

from routers.base import Floats, Forecast, Views
from routers.metrics import (
    Frontier,
    Singles,
    calibration_error,
    log_loss,
    mean_and_spread,
    nauc,
    peak_score,
    quality_neutral_cost,
    single_points,
    sweep,
)
from routers.registry import Algorithm, TrainedRouter
from routers.split import Rows, Split, grouped_splits
from routers.table import OutcomeTable

BASELINES = ("random", "best_single", "oracle")


@dataclass(frozen=True, slots=True)
class Judgement:
    """One policy on one test set; NaN where a figure has no meaning (an oracle forecasts nothing).

    Attributes:
        nauc, peak_score, qnc: see `routers.metrics`.
        accuracy: realised score at lambda = 0, when cost does not count.
        log_loss, ece: of forecast quality.
        token_coverage: share of replies no longer than the forecast 90% quantile.
    """

    nauc: float
    peak_score: float
    qnc: float
    accuracy: float
    log_loss: float = float("nan")
    ece: float = float("nan")
    token_coverage: float = float("nan")


@dataclass(frozen=True, slots=True)
class Summary:
    """Judgements over seeds: field -> (mean, sample standard deviation)."""

    figures: Mapping[str, tuple[float, float]]

    @classmethod
    def over(cls, judgements: Sequence[Judgement]) -> Summary:
        columns = zip(*(astuple(judgement) for judgement in judgements), strict=True)
        names = (part.name for part in fields(Judgement))
        return cls({name: mean_and_spread(column) for name, column in zip(names, columns, strict=True)})


@dataclass(frozen=True, slots=True)
class Plan:
    """How to judge: share of groups to learn from, the seeds of the splits, and the parts (name -> rows)."""

    parts: Mapping[str, Rows]
    train: float = 0.2
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


def evaluate(
    algorithm: Algorithm,
    table: OutcomeTable,
    views: Views,
    plan: Plan,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, Summary]]:
    """Part -> policy -> figures; the policies are `BASELINES` and the algorithm's name."""
    found: dict[str, dict[str, list[Judgement]]] = {part: {} for part in plan.parts}
    splits = grouped_splits(table.groups, plan.train, plan.seeds)
    for done, split in enumerate(splits, start=1):
        known = table.take(split.train)
        router = algorithm.fit(known, _rows(views, split.train), seed=split.seed)
        for part, rows in plan.parts.items():
            for policy, judgement in _judge_part(router, table, views, (rows, split)):
                found[part].setdefault(policy, []).append(judgement)
        if progress is not None:
            progress(done, len(plan.seeds))
    return {
        part: {policy: Summary.over(judgements) for policy, judgements in policies.items()}
        for part, policies in found.items()
    }


def judge(frontier: Frontier, singles: Singles) -> Judgement:
    """The figures of a frontier alone."""
    return Judgement(
        nauc=nauc(frontier, singles),
        peak_score=peak_score(frontier),
        qnc=quality_neutral_cost(frontier, singles),
        accuracy=float(frontier.scores[-1]),
    )


def judge_forecast(forecast: Forecast, expected_cost: Floats, test: OutcomeTable) -> Judgement:
    """All figures of a forecast; `expected_cost` [n, K] is what decisions weigh it against."""
    singles = single_points(test.score, test.cost_usd)
    bare = judge(sweep(forecast.quality, expected_cost, test.score, test.cost_usd), singles)
    counted = ~np.isnan(test.output_tokens)
    covered = test.output_tokens[counted] <= forecast.output_tokens_high[counted]
    return Judgement(
        nauc=bare.nauc,
        peak_score=bare.peak_score,
        qnc=bare.qnc,
        accuracy=bare.accuracy,
        log_loss=log_loss(forecast.quality, test.score),
        ece=calibration_error(forecast.quality, test.score),
        token_coverage=float(covered.mean()) if len(covered) else float("nan"),
    )


def _judge_part(
    router: TrainedRouter, table: OutcomeTable, views: Views, where: tuple[Rows, Split]
) -> Iterator[tuple[str, Judgement]]:
    rows, split = where
    learned, hidden = np.intersect1d(rows, split.train), np.intersect1d(rows, split.test)
    columns = np.flatnonzero(table.mask[rows].any(axis=0))
    known, test = _part(table, learned, columns), _part(table, hidden, columns)
    forecast = router.forecast(_rows(views, hidden))
    # Prices do not depend on the query in these tables: what is expected is the mean that training saw.
    expected = np.tile(_means(known.cost_usd), (len(test), 1))
    yield from _judge_baselines(known, test, expected)
    yield (
        router.algorithm,
        judge_forecast(
            Forecast(
                quality=forecast.quality[:, columns],
                quality_std=forecast.quality_std[:, columns],
                output_tokens=forecast.output_tokens[:, columns],
                output_tokens_high=forecast.output_tokens_high[:, columns],
            ),
            expected,
            test,
        ),
    )


def _judge_baselines(known: OutcomeTable, test: OutcomeTable, expected: Floats) -> Iterator[tuple[str, Judgement]]:
    singles = single_points(test.score, test.cost_usd)
    yield "random", judge(_chance(test), singles)
    means = np.tile(_means(known.score), (len(test), 1))
    blind = Forecast(
        quality=means,
        quality_std=np.zeros_like(means),
        output_tokens=means,
        output_tokens_high=np.tile(_quantiles(known.output_tokens), (len(test), 1)),
    )
    yield "best_single", judge_forecast(blind, expected, test)
    truth = np.where(test.mask, test.score, 0.0)
    yield "oracle", judge(sweep(truth, expected, test.score, test.cost_usd), singles)


def _chance(test: OutcomeTable) -> Frontier:
    """A fair draw among each query's observed candidates: one point, in expectation."""
    observed = test.mask & ~np.isnan(test.cost_usd)
    rows = observed.any(axis=1)
    counts = observed[rows].sum(axis=1)
    score = np.where(observed, test.score, 0.0)[rows].sum(axis=1) / counts
    cost = np.where(observed, test.cost_usd, 0.0)[rows].sum(axis=1) / counts
    return Frontier(np.array([0.0]), np.array([cost.mean()]), np.array([score.mean()]))


def _part(table: OutcomeTable, rows: Rows, columns: Rows) -> OutcomeTable:
    return table.take(rows).select([table.candidates[column] for column in columns])


def _rows(views: Views, rows: Rows) -> Views:
    return {name: values[rows] for name, values in views.items()}


def _means(values: Floats) -> Floats:
    """[K] column means over what was observed; the overall mean for a column that never was."""
    seen = ~np.isnan(values)
    counts = seen.sum(axis=0)
    overall = float(values[seen].mean()) if seen.any() else 0.0
    sums = np.where(seen, values, 0.0).sum(axis=0)
    return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), overall), dtype=np.float64)


def _quantiles(tokens: Floats) -> Floats:
    """[K] 90% quantiles of what was observed; 0 for a column that never was."""
    seen = ~np.isnan(tokens)
    columns = zip(tokens.T, seen.T, strict=True)
    return np.array([np.quantile(column[mask], 0.9) if mask.any() else 0.0 for column, mask in columns])
