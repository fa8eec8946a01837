"""Training from end to end: judge an algorithm on held-out groups, then fit it on everything and write it down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from routers.artifact import Provenance, save
from routers.base import Views
from routers.evaluate import Plan, Summary, evaluate
from routers.evaluation.leakage import fingerprints
from routers.registry import ALGORITHMS, Algorithm, TrainedRouter
from routers.table.outcome_table import OutcomeTable, TableError


@dataclass(frozen=True, slots=True)
class EncoderName:
    """The encoder that views come from."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Training:
    """What training gave: the router that was written, its digest, and the held-out figures behind it."""

    router: TrainedRouter
    digest: str
    judged: Mapping[str, Mapping[str, Summary]]


def find_algorithm(name: str) -> Algorithm:
    """The algorithm of this name. Raises ValueError, naming those there are."""
    if name not in ALGORITHMS:
        raise ValueError(f"no router {name!r}; there is {', '.join(sorted(ALGORITHMS))}")
    return ALGORITHMS[name]


def train(
    algorithm: Algorithm,
    data: tuple[OutcomeTable, Views],
    encoder: EncoderName,
    plan: Plan,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Training:
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
    return Training(router=router, digest=digest, judged=judged)


def _as_json(judged: Mapping[str, Mapping[str, Summary]]) -> dict[str, dict[str, dict[str, list[float]]]]:
    return {
        part: {
            policy: {name: [round(mean, 4), round(spread, 4)] for name, (mean, spread) in summary.figures.items()}
            for policy, summary in policies.items()
        }
        for part, policies in judged.items()
    }
