"""Retraining from end to end: merge, hold out, fit, judge against the router in service, fit on everything.

What is handed out was fitted on all rows; what was judged is the same algorithm without the held-out ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from routers.artifact import Provenance, learned_from, load, save
from routers.base import Floats, Router, Views
from routers.evaluation.bench import stacked
from routers.evaluation.comparison import Part, RouterComparison, Rules, between
from routers.evaluation.holdout import Holdout, hold_out
from routers.evaluation.leakage import Fingerprints, fingerprints, linked, seen
from routers.numeric.ridge import rows_of
from routers.registry import Algorithm
from routers.table.outcome_table import Dataset, Mask, OutcomeTable, TableError, merge
from routers.table.split import Rows
from routers.table.weights import FLATTENED, to_learn_from
from routers.train import EncoderName

IN_SERVICE, RETRAINED, OFFERED = "in service", "retrained", "offered"
TIME, DECIDED = "time", "decided"
"""Columns that `loupe table export` writes: when a query was asked, in seconds since 1970, and what decided it."""
_LEAST_CELLS = 8


@dataclass(frozen=True, slots=True)
class RetrainSettings:
    """How to retrain.

    Attributes:
        holdout: share of the groups that are judged on.
        power: that weights are flattened by (`routers.table.weights`).
        seed: of the fit, and of what chance holds out.
    """

    holdout: float = 0.2
    power: float = FLATTENED
    seed: int = 0
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True, slots=True, eq=False)
class MergedOutcomes:
    """All outcomes there are, and where they come from.

    Attributes:
        table: with groups joined over all parts.
        parts: each data set's name -> its rows.
        prints: fingerprints of everything.
    """

    table: OutcomeTable
    views: Views
    parts: Mapping[str, Rows]
    prints: Fingerprints

    @classmethod
    def of(cls, datasets: Sequence[Dataset]) -> MergedOutcomes:
        """Raises TableError for tables that contradict each other or have other views. Of a decision that stands in
        several exports the last one counts: labels come late.
        """
        datasets = _last_word(datasets)
        whole = merge([data.table for data in datasets])
        place = {query_id: row for row, query_id in enumerate(whole.query_ids)}
        return cls(
            table=linked(whole),
            views=stacked(datasets, whole),
            parts={data.name: np.array([place[name] for name in data.table.query_ids]) for data in datasets},
            prints=fingerprints(whole),
        )

    def known_to(self, prints: Fingerprints | None) -> Mask:
        """[n]: the rows that a router with these fingerprints has learned from; none where it does not say."""
        return np.zeros(len(self.table), dtype=np.bool_) if prints is None else seen(self.table, prints)

    def held(self, rows: Rows) -> list[Part]:
        """These rows, by the tables that they come from; without those that no policy decided (pinned, failed over):
        what they tell of is who asked so.
        """
        fair = rows[~unweighed(self.table)[rows]]
        parts = ((name, np.intersect1d(own, fair)) for name, own in self.parts.items())
        return [Part(name, self.table.take(own), rows_of(self.views, own)) for name, own in parts if len(own)]

    def learned(self, rows: Rows, power: float) -> tuple[OutcomeTable, Views]:
        """These rows with weights to fit by, and the candidates that they show often enough."""
        return to_learn_from(teachable(self.table.take(rows)), power), rows_of(self.views, rows)


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """The router in service: its artifact, and what it learned from (None where it does not say)."""

    router: Router
    prints: Fingerprints | None

    @classmethod
    def at(cls, folder: Path) -> Contender:
        """Raises ArtifactError."""
        return cls(load(folder), learned_from(folder))


@dataclass(frozen=True, slots=True, eq=False)
class RetrainResult:
    """What came of it: the contest, what it was fought on, and against which router."""

    contest: RouterComparison
    holdout: Holdout
    rival_digest: str


def retrain(
    algorithm: Algorithm, merged: MergedOutcomes, rival: Contender, encoder_digest: str, terms: RetrainSettings
) -> RetrainResult:
    """Fit without the held-out groups and judge. Raises TableError and ValueError for tables that are too small."""
    holdout = hold_out(
        merged.table.groups, times(merged.table), merged.known_to(rival.prints), share=terms.holdout, seed=terms.seed
    )
    known, views = merged.learned(holdout.train, terms.power)
    challenger = algorithm.fit(known, views, encoder_digest=encoder_digest, seed=terms.seed)
    rivals = {IN_SERVICE: rival.router, RETRAINED: challenger}
    contest = between(rivals, merged.held(holdout.test), merged.table.take(holdout.train), terms.rules)
    return RetrainResult(contest, holdout, rival.router.digest)


def judge_offer(offered: Contender, merged: MergedOutcomes, rival: Contender, terms: RetrainSettings) -> RetrainResult:
    """Judge an artifact that is there already, on every query that neither it nor the other learned from.

    Raises TableError where nothing is left, or where it does not say what it learned from.
    """
    if offered.prints is None:
        raise TableError("the artifact that is offered does not say what it learned from: it cannot be judged fairly")
    fresh = ~(merged.known_to(offered.prints) | merged.known_to(rival.prints))
    groups = {group for group, is_fresh in zip(merged.table.groups, fresh, strict=True) if not is_fresh}
    test = np.array([row for row, group in enumerate(merged.table.groups) if group not in groups], dtype=np.intp)
    if not len(test):
        raise TableError("the one or the other router learned from every query of these tables: nothing to judge on")
    rivals = {IN_SERVICE: rival.router, OFFERED: offered.router}
    contest = between(rivals, merged.held(test), merged.table, terms.rules)
    return RetrainResult(contest, Holdout(np.zeros(0, dtype=np.intp), test, 0, 0), rival.router.digest)


def fit_on_all(
    algorithm: Algorithm,
    merged: MergedOutcomes,
    encoder: EncoderName,
    terms: RetrainSettings,
    folder: Path,
    found: RetrainResult,
) -> str:
    """Fit on everything and write it down, with what was found of it; its digest."""
    table, views = merged.learned(np.arange(len(merged.table)), terms.power)
    router = algorithm.fit(table, views, encoder_digest=encoder.digest, seed=terms.seed)
    provenance = Provenance(
        encoder_name=encoder.name,
        table_sha256=table.digest,
        seeds=(terms.seed,),
        metrics={
            "held_out": figures_of(found.contest, RETRAINED, router.algorithm),
            "better_by": {"nauc": found.contest.difference, "at_least": found.contest.low},
            "than": found.rival_digest,
        },
        learned_from=merged.prints,
    )
    return save(router, folder, provenance)


def figures_of(contest: RouterComparison, rival: str, name: str) -> dict[str, dict[str, dict[str, list[float | None]]]]:
    """Part -> `name` -> figure -> [value, None], as `routers.train` writes what it judged."""
    shown = ("nauc", "peak_score", "qnc", "accuracy", "log_loss", "ece")
    return {
        arena.name: {name: {figure: [round(getattr(each.judgement, figure), 4), None] for figure in shown}}
        for place, arena in enumerate(contest.arenas)
        for each in contest.judged
        if each.policy == rival and each.task.block == place
    }


def teachable(table: OutcomeTable) -> OutcomeTable:
    """Without the candidates that it shows too seldom to learn from: they are forecast as newcomers."""
    shown = [
        name
        for name, scores, tokens in zip(table.candidates, table.mask.T, ~np.isnan(table.output_tokens.T), strict=True)
        if scores.sum() >= _LEAST_CELLS and (scores & tokens).sum() >= _LEAST_CELLS
    ]
    if len(shown) < 2:
        raise TableError(f"{len(shown)} candidate(s) with {_LEAST_CELLS} outcomes or more; at least two are needed")
    return table.select(shown)


def _last_word(datasets: Sequence[Dataset]) -> list[Dataset]:
    """Without the decisions of a gateway's log that a later data set has too."""
    kept: list[Dataset] = []
    later: set[str] = set()
    for data in reversed(datasets):
        decided = data.table.details.get(DECIDED, ("",) * len(data.table))
        pairs = zip(data.table.query_ids, decided, strict=True)
        rows = np.array([row for row, (name, how) in enumerate(pairs) if not (how and name in later)], dtype=np.intp)
        later.update(data.table.query_ids)
        if len(rows):
            kept.append(replace(data, table=data.table.take(rows), views=rows_of(data.views, rows)))
    return kept[::-1]


def unweighed(table: OutcomeTable) -> Mask:
    """[n]: decisions of a gateway's log that have no propensity."""
    decided = np.array([bool(text) for text in table.details.get(DECIDED, ("",) * len(table))], dtype=np.bool_)
    if table.weight is None:
        return decided
    return np.asarray(decided & ~(table.mask & ~np.isnan(table.weight)).any(axis=1), dtype=np.bool_)


def times(table: OutcomeTable) -> Floats:
    """[n] when each query was asked, NaN where the table does not tell."""
    said = table.details.get(TIME, ("",) * len(table))
    return np.array([_number(text) for text in said], dtype=np.float64)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
