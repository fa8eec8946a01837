"""Cluster prior: forecasts from the kind of query, by cluster means that are shrunk from coarse levels to fine ones.

A query's cluster stands for the query's task. Each level adds a correction to the level above it, learned from the
outcomes in its clusters: first how hard a cluster is for all candidates alike, then how each candidate departs from
that. Both corrections are shrunk by a number of imagined outcomes at zero: James-Stein shrinkage in the form of Efron
and Morris, "Data Analysis Using Stein's Estimator and its Generalizations" (JASA 1975), one level over another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.numeric.clusters import Clusters
from routers.table.outcome_table import OutcomeTable
from routers.table.split import Split, grouped_folds
from routers.table.weights import mean_square

LEVELS = (4, 16, 64, 256)
_FOLDS = 5
Cells = tuple[Floats, Floats]
"""Scores [n, K], NaN where missing, and the weight of each score, 0 where missing."""


@dataclass(frozen=True, slots=True)
class Shrinkage:
    """The temperature of cluster memberships, and the numbers of imagined outcomes.

    Attributes:
        temperature: how soft membership is.
        shared: imagined outcomes of all candidates together.
        own: imagined outcomes of each candidate.
    """

    temperature: float
    shared: float
    own: float


GRID = tuple(Shrinkage(*values) for values in product((0.1, 0.4), (10.0, 100.0), (5.0, 25.0, 125.0)))
"""The settings that cross-validation chooses among; it also chooses how many of `LEVELS` are used."""


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """Implements `routers.forecasting.head.Head`.

    Attributes:
        candidate_means: [K] mean scores.
        effects: [C, K] the amount that each cluster adds to the means.
    """

    algorithm: ClassVar[str] = "prior"

    clusters: Clusters
    shrinkage: Shrinkage
    candidate_means: Floats
    effects: Floats

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.clusters.space.view_dims

    @property
    def settings(self) -> Mapping[str, Any]:
        return {**asdict(self.shrinkage), "levels": len(self.clusters.sizes)}

    def quality(self, views: Views) -> Floats:
        return self.candidate_means + self.clusters.memberships(views, self.shrinkage.temperature) @ self.effects

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {**self.clusters.arrays(), "candidate_means": self.candidate_means, "effects": self.effects}

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]
    ) -> Prior:
        clusters, means, effects = Clusters.restore(arrays, view_dims), arrays["candidate_means"], arrays["effects"]
        if means.ndim != 1 or effects.shape != (len(clusters.centres), len(means)):
            raise ValueError(f"array 'effects' is {effects.shape} for {means.shape} candidates")
        shrinkage = Shrinkage(settings["temperature"], settings["shared"], settings["own"])
        return cls(clusters=clusters, shrinkage=shrinkage, candidate_means=means, effects=effects)

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> Prior:
        return cls.fit_held_out(table, views, seed=seed)[0]

    @classmethod
    def fit_held_out(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> tuple[Prior, Floats]:
        """Return the head, and [n, K] forecasts of each row by a fit that did not see the row's group."""
        cells = table.score, table.weights
        held_out = np.empty((len(GRID), len(LEVELS), *table.score.shape))
        for fold in grouped_folds(table.groups, _FOLDS, seed):
            for place, per_level in enumerate(_hidden_forecasts(cells, views, fold)):
                held_out[place, :, fold.test] = np.moveaxis(per_level, 1, 0)
        errors = mean_square(held_out, table.score, table.unequal_weights)
        best, level = np.unravel_index(int(np.argmin(errors)), errors.shape)
        shrinkage = GRID[int(best)]
        clusters = Clusters.fit(views, LEVELS[: int(level) + 1])
        means, effects = _learn(clusters.memberships(views, shrinkage.temperature), clusters, cells, shrinkage)
        return cls(clusters, shrinkage, means, np.concatenate(effects)), held_out[best, level]


def _hidden_forecasts(cells: Cells, views: Views, fold: Split) -> Iterator[Floats]:
    """Yield, for each entry of `GRID`, forecasts [levels, test rows, K]; entry l uses the levels 0 to l."""
    score, weights = cells
    known = {name: rows[fold.train] for name, rows in views.items()}
    clusters = Clusters.fit(known, LEVELS)
    near = clusters.distances(known)
    far = clusters.distances({name: rows[fold.test] for name, rows in views.items()})
    for shrinkage in GRID:
        members = clusters.softened(near, shrinkage.temperature)
        means, effects = _learn(members, clusters, (score[fold.train], weights[fold.train]), shrinkage)
        asked = clusters.softened(far, shrinkage.temperature)
        added = [asked[:, level] @ effect for level, effect in zip(_levels(clusters), effects, strict=True)]
        yield means + np.cumsum(added, axis=0)


def _learn(members: Floats, clusters: Clusters, cells: Cells, shrinkage: Shrinkage) -> tuple[Floats, list[Floats]]:
    """Return means [K] and each level's effects [size, K]; `members` is [n, C]."""
    score, weights = cells
    filled = np.where(weights > 0, score, 0.0)
    overall = (weights * filled).sum() / max(weights.sum(), 1e-12)
    # One imagined outcome per candidate gives a mean to a candidate whose outcomes are all hidden by a fold.
    means = ((weights * filled).sum(axis=0) + overall) / (weights.sum(axis=0) + 1)
    expected, effects = np.tile(means, (len(score), 1)), []
    for level in _levels(clusters):
        residuals = weights * (filled - expected)
        effects.append(_effects(members[:, level], residuals, weights, shrinkage))
        expected += members[:, level] @ effects[-1]
    return means, effects


def _effects(members: Floats, residuals: Floats, weights: Floats, shrinkage: Shrinkage) -> Floats:
    """Return [C, K], the shared part plus each candidate's own part, from weighted residuals of the scores [n, K]."""
    sums, counts = members.T @ residuals, members.T @ weights
    shared = (sums.sum(axis=1) / (counts.sum(axis=1) + shrinkage.shared))[:, None]
    return np.asarray(shared + (sums - counts * shared) / (counts + shrinkage.own), dtype=np.float64)


def _levels(clusters: Clusters) -> Sequence[slice]:
    """Return each level's range of rows among the centres."""
    ends = np.cumsum(clusters.sizes).tolist()
    return [slice(end - size, end) for end, size in zip(ends, clusters.sizes, strict=True)]
