"""KMeans of MMR-Bench (arXiv 2601.17814): forecasts for a query the mean scores of its cluster's training queries.

Cluster means are shrunk to the candidate's own mean, so that a small cluster has little influence. Grouped
cross-validation chooses the number of clusters and the strength of the shrinkage. Views are concatenated with equal
weight (equal fusion); `KMeansAdaptive` differs in its fusion only (see `routers.features.adaptive_fusion`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.features.adaptive_fusion import AdaptiveFusion
from routers.features.pca import PcaMap, sized
from routers.numeric.lloyd import fit_centres, nearest
from routers.table.outcome_table import OutcomeTable
from routers.table.split import grouped_folds
from routers.table.summary import column_means

_FOLDS = 5
_COUNTS = (8, 24, 64, 160)
_LEAST_IN_CLUSTER = 4
_PRIORS = (2.0, 8.0, 32.0, 128.0)
"""Strengths of shrinkage: the number of imagined cells at the candidate's own mean that are added to a cluster."""


class Space(Protocol):
    """A map from views of queries to rows, between which distances are measured."""

    @property
    def view_dims(self) -> Mapping[str, int]: ...
    def rows(self, views: Views) -> Floats: ...
    def arrays(self) -> Mapping[str, NDArray[Any]]: ...
    @classmethod
    def fit(cls, views: Views) -> Self: ...
    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]) -> Self: ...


@dataclass(frozen=True, slots=True, eq=False)
class KMeans:
    """Implements `routers.forecasting.head.Head` and `HoldsOut`.

    Attributes:
        space: maps views to rows of width D.
        centres: [clusters, D].
        means: [clusters, K] shrunken scores.
    """

    algorithm: ClassVar[str] = "kmeans"
    fusion: ClassVar[type[Space]] = PcaMap

    space: Space
    centres: Floats
    means: Floats
    settings: Mapping[str, Any]

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.space.view_dims

    def quality(self, views: Views) -> Floats:
        """Return [n, K] mean scores of each query's nearest cluster."""
        return self.means[nearest(self.space.rows(views), self.centres)]

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {**self.space.arrays(), "centres": self.centres, "means": self.means}

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> Self:
        return cls.fit_held_out(table, views, seed=seed)[0]

    @classmethod
    def fit_held_out(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> tuple[Self, Floats]:
        """Return the head, and [n, K] forecasts of each row by a fit that did not see the row's group."""
        counts = [count for count in _COUNTS if _LEAST_IN_CLUSTER * count <= len(table)] or [1]
        choices = [(count, prior) for count in counts for prior in _PRIORS]
        # Fitted once, on every row: a space is learned from queries only, so it has not seen any outcomes.
        space = cls.fusion.fit(views)
        rows = space.rows(views)
        held_out = np.full((len(choices), *table.score.shape), np.nan)
        for fold in grouped_folds(table.groups, _FOLDS, seed):
            fits = _clustered(rows[fold.train], table.score[fold.train], choices, seed)
            for place, (centres, means) in enumerate(fits):
                held_out[place, fold.test] = means[nearest(rows[fold.test], centres)]
        best = int(np.argmin(np.nanmean((held_out - table.score) ** 2, axis=(1, 2))))
        ((centres, means),) = _clustered(rows, table.score, [choices[best]], seed)
        settings = dict(zip(("clusters", "prior"), choices[best], strict=True))
        return cls(space, centres, means, settings), held_out[best]

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]
    ) -> Self:
        """Raises KeyError or ValueError where shapes disagree."""
        space, means = cls.fusion.restore(arrays, view_dims), arrays["means"]
        nothing: Views = {name: np.zeros((1, size), np.float32) for name, size in view_dims.items()}
        width = space.rows(nothing).shape[1]
        return cls(space, sized(arrays, "centres", (len(means), width)), means, settings)


class KMeansAdaptive(KMeans):
    """KMeans in the space of adaptive fusion."""

    __slots__ = ()
    algorithm: ClassVar[str] = "kmeans_adaptive"
    fusion: ClassVar[type[Space]] = AdaptiveFusion


def _clustered(
    rows: Floats, score: Floats, choices: Sequence[tuple[int, float]], seed: int
) -> Iterator[tuple[Floats, Floats]]:
    """Yield (centres, means) for each (clusters, prior); choices with the same number of clusters share centres."""
    known: dict[int, Floats] = {}
    for count, prior in choices:
        if count not in known:
            known[count] = fit_centres(rows, count, seed)
        centres = known[count]
        yield centres, _shrunken(score, nearest(rows, centres), len(centres), prior)


def _shrunken(score: Floats, place: NDArray[np.intp], clusters: int, prior: float) -> Floats:
    """Return [clusters, K] means over observed cells and `prior` imagined cells at the candidate's own mean."""
    observed = ~np.isnan(score)
    belongs = (place[:, None] == np.arange(clusters)).astype(np.float64)
    sums, counts = belongs.T @ np.where(observed, score, 0.0), belongs.T @ observed
    return np.asarray((sums + prior * column_means(score)) / (counts + prior), dtype=np.float64)
