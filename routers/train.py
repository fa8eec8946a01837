"""Training from end to end: judge an algorithm on held-out groups, then fit it on all rows and write the artifact.

The algorithm is judged together with the policies that it is compared with: the best single candidate, chance and the
oracle. A table may be the union of several tables (`Plan.parts`). The router learns from the whole table, but is judged
on each part separately, among the candidates that this part observed, because candidates that were observed on
different queries cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from routers.artifact import Provenance, save
from routers.base import Views
from routers.evaluation.judge import Judgement, Policy, baselines, judge, of_candidates, routed
from routers.evaluation.leakage import fingerprints
from routers.evaluation.metrics import mean_and_spread
from routers.evaluation.protocol import SharedSweep
from routers.registry import ALGORITHMS, Algorithm, TrainedRouter
from routers.table.outcome_table import OutcomeTable, TableError
from routers.table.split import Rows, Split, grouped_splits


@dataclass(frozen=True, slots=True)
class EncoderName:
    """The name and digest of the encoder that views come from."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The result of training: the router that was written, its digest, and the held-out figures of its algorithm."""

    router: TrainedRouter
    digest: str
    judged: Mapping[str, Mapping[str, Summary]]


def find_algorithm(name: str) -> Algorithm:
    """Return the algorithm of this name. Raises ValueError, which lists the known names."""
    if name not in ALGORITHMS:
        raise ValueError(f"unknown router {name!r}; known: {', '.join(sorted(ALGORITHMS))}")
    return ALGORITHMS[name]


def train(
    algorithm: Algorithm,
    data: tuple[OutcomeTable, Views],
    encoder: EncoderName,
    plan: Plan,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> TrainResult:
    """Judge, fit on all rows and write the artifact to `folder`. Raises TableError."""
    table, views = data
    for name, rows in views.items():
        if len(rows) != len(table):
            raise TableError(f"view {name!r} has {len(rows)} rows for {len(table)} queries")
    judged = evaluate(algorithm, table, views, plan, progress)
    router = algorithm.fit(table, views, encoder_digest=encoder.digest, seed=plan.seeds[0])
    digest = save(
        router,
        folder,
        Provenance(
            encoder_name=encoder.name,
            table_sha256=table.digest,
            seeds=plan.seeds,
            learned_from=fingerprints(table),
            metrics={"train_share": plan.train, "held_out": _as_json(judged)},
        ),
    )
    return TrainResult(router=router, digest=digest, judged=judged)


def _as_json(judged: Mapping[str, Mapping[str, Summary]]) -> dict[str, dict[str, dict[str, list[float]]]]:
    return {
        part: {
            policy: {name: [round(mean, 4), round(spread, 4)] for name, (mean, spread) in summary.figures.items()}
            for policy, summary in policies.items()
        }
        for part, policies in judged.items()
    }


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a policy over seeds: field of `Judgement` -> (mean, sample standard deviation)."""

    figures: Mapping[str, tuple[float, float]]

    @classmethod
    def over(cls, judgements: Sequence[Judgement]) -> Summary:
        columns = zip(*(astuple(judgement) for judgement in judgements), strict=True)
        names = (part.name for part in fields(Judgement))
        return cls({name: mean_and_spread(column) for name, column in zip(names, columns, strict=True)})


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of an evaluation.

    Attributes:
        parts: name -> rows of each part, which is judged separately.
        train: the share of groups to learn from.
        seeds: the seeds of the splits.
    """

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
    """Return part -> policy -> figures; policies are `routers.evaluation.judge.BASELINES` and the algorithm's name."""
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


def _judge_part(
    router: TrainedRouter, table: OutcomeTable, views: Views, where: tuple[Rows, Split]
) -> list[tuple[str, Judgement]]:
    rows, split = where
    learned, hidden = np.intersect1d(rows, split.train), np.intersect1d(rows, split.test)
    columns = np.flatnonzero(table.mask[rows].any(axis=0))
    known, test = _part(table, learned, columns), _part(table, hidden, columns)
    forecast = of_candidates(router.forecast(_rows(views, hidden)), columns)
    measure = SharedSweep()
    policies: list[Policy] = [one for one in baselines(known, test, measure) if one.name != router.algorithm]
    policies.append(routed(router.algorithm, forecast, (known, test), measure))
    return [(policy.name, judge(policy, test, measure)) for policy in policies]


def _part(table: OutcomeTable, rows: Rows, columns: Rows) -> OutcomeTable:
    return table.take(rows).select([table.candidates[column] for column in columns])


def _rows(views: Views, rows: Rows) -> Views:
    return {name: values[rows] for name, values in views.items()}
