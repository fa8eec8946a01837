"""Held-out judgement of an algorithm beside what it must beat: the best single candidate, chance and the oracle.

A table may be the union of several (`parts`): the router learns from all of it and is judged on each part by
itself, among the candidates that part observed, since candidates seen on different queries cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np

from routers.base import Views
from routers.evaluation.judge import Judgement, Policy, baselines, judge, of_candidates, routed
from routers.evaluation.metrics import mean_and_spread
from routers.evaluation.protocol import Shared
from routers.registry import Algorithm, TrainedRouter
from routers.table.outcome_table import OutcomeTable
from routers.table.split import Rows, Split, grouped_splits


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
    """Part -> policy -> figures; the policies are `routers.evaluation.judge.BASELINES` and the algorithm's name."""
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
    measure = Shared()
    policies: list[Policy] = [one for one in baselines(known, test, measure) if one.name != router.algorithm]
    policies.append(routed(router.algorithm, forecast, (known, test), measure))
    return [(policy.name, judge(policy, test, measure)) for policy in policies]


def _part(table: OutcomeTable, rows: Rows, columns: Rows) -> OutcomeTable:
    return table.take(rows).select([table.candidates[column] for column in columns])


def _rows(views: Views, rows: Rows) -> Views:
    return {name: values[rows] for name, values in views.items()}
