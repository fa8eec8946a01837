"""Retraining from end to end: merge, hold out, fit, judge against the router in service, fit on everything.

The router that is written was fitted on all rows; the router that was judged is the same algorithm fitted without the
held-out rows.
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
"""Columns that `loupe table export` writes: a query's time, in seconds since 1970, and what decided its candidate."""
_LEAST_CELLS = 8


@dataclass(frozen=True, slots=True)
class RetrainSettings:
    """The settings of retraining.

    Attributes:
        holdout: the share of the groups that the routers are judged on.
        power: the power that flattens weights (`routers.table.weights`).
        seed: the seed of the fit, and of groups that are held out by chance.
        rules: the rules by which the new router wins.
    """

    holdout: float = 0.2
    power: float = FLATTENED
    seed: int = 0
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True, slots=True, eq=False)
class MergedOutcomes:
    """The outcomes of all data sets, and their origin.

    Attributes:
        table: all outcomes, with groups joined over all data sets.
        parts: each data set's name -> its rows of the table.
        prints: the fingerprints of all rows.
    """

    table: OutcomeTable
    views: Views
    parts: Mapping[str, Rows]
    prints: Fingerprints

    @classmethod
    def of(cls, datasets: Sequence[Dataset]) -> MergedOutcomes:
        """Merge data sets. Raises TableError for tables that contradict each other or have different views.

        A decision that appears in several exports counts as the last export has it, because labels come late.
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
        """Return [n] the mask of rows that a router with these fingerprints learned from; no rows for None."""
        return np.zeros(len(self.table), dtype=np.bool_) if prints is None else seen(self.table, prints)

    def held(self, rows: Rows) -> list[Part]:
        """Return these rows as parts, one per data set, without rows that no policy decided (pinned, failed over).

        Such rows tell about who asked for the candidate, not about the candidate.
        """
        fair = rows[~unweighed(self.table)[rows]]
        parts = ((name, np.intersect1d(own, fair)) for name, own in self.parts.items())
        return [Part(name, self.table.take(own), rows_of(self.views, own)) for name, own in parts if len(own)]

    def learned(self, rows: Rows, power: float) -> tuple[OutcomeTable, Views]:
        """Return these rows, with weights to fit by and only candidates with enough outcomes, and their views."""
        return to_learn_from(teachable(self.table.take(rows)), power), rows_of(self.views, rows)


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """A router to compare and the fingerprints of the rows that it learned from; None where its artifact lacks them."""

    router: Router
    prints: Fingerprints | None

    @classmethod
    def at(cls, folder: Path) -> Contender:
        """Load the artifact in a folder. Raises ArtifactError."""
        return cls(load(folder), learned_from(folder))


@dataclass(frozen=True, slots=True, eq=False)
class RetrainResult:
    """The result of judging a router: the comparison, its held-out rows, and the digest of the router in service."""

    contest: RouterComparison
    holdout: Holdout
    rival_digest: str


def retrain(
    algorithm: Algorithm, merged: MergedOutcomes, rival: Contender, encoder_digest: str, terms: RetrainSettings
) -> RetrainResult:
    """Fit without the held-out groups and judge the result. Raises TableError, ValueError for too small tables."""
    holdout = hold_out(
        merged.table.groups, times(merged.table), merged.known_to(rival.prints), share=terms.holdout, seed=terms.seed
    )
    known, views = merged.learned(holdout.train, terms.power)
    challenger = algorithm.fit(known, views, encoder_digest=encoder_digest, seed=terms.seed)
    rivals = {IN_SERVICE: rival.router, RETRAINED: challenger}
    contest = between(rivals, merged.held(holdout.test), merged.table.take(holdout.train), terms.rules)
    return RetrainResult(contest, holdout, rival.router.digest)


def judge_offer(offered: Contender, merged: MergedOutcomes, rival: Contender, terms: RetrainSettings) -> RetrainResult:
    """Judge an existing artifact, on every query that neither it nor the router in service learned from.

    Raises TableError where no such query is left, or where the artifact does not say what it learned from.
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
    """Fit on all rows and write the router to a folder, with the figures in `found`. Returns the router's digest."""
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
    """Return part -> `name` -> figure -> [value, None], in the form in which `routers.train` writes figures."""
    shown = ("nauc", "peak_score", "qnc", "accuracy", "log_loss", "ece")
    return {
        arena.name: {name: {figure: [round(getattr(each.judgement, figure), 4), None] for figure in shown}}
        for place, arena in enumerate(contest.arenas)
        for each in contest.judged
        if each.policy == rival and each.task.block == place
    }


def teachable(table: OutcomeTable) -> OutcomeTable:
    """Return the table without candidates that have too few outcomes to learn from.

    Such candidates are forecast by cold start. Raises TableError where fewer than two candidates are left.
    """
    shown = [
        name
        for name, scores, tokens in zip(table.candidates, table.mask.T, ~np.isnan(table.output_tokens.T), strict=True)
        if scores.sum() >= _LEAST_CELLS and (scores & tokens).sum() >= _LEAST_CELLS
    ]
    if len(shown) < 2:
        raise TableError(f"{len(shown)} candidate(s) with {_LEAST_CELLS} outcomes or more; at least two are needed")
    return table.select(shown)


def _last_word(datasets: Sequence[Dataset]) -> list[Dataset]:
    """Return data sets without the decisions of a gateway's log that a later data set has too."""
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
    """Return [n] the mask of decisions of a gateway's log that have no propensity."""
    decided = np.array([bool(text) for text in table.details.get(DECIDED, ("",) * len(table))], dtype=np.bool_)
    if table.weight is None:
        return decided
    return np.asarray(decided & ~(table.mask & ~np.isnan(table.weight)).any(axis=1), dtype=np.bool_)


def times(table: OutcomeTable) -> Floats:
    """Return [n] the time at which each query was asked, NaN where the table does not have it."""
    said = table.details.get(TIME, ("",) * len(table))
    return np.array([_number(text) for text in said], dtype=np.float64)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
