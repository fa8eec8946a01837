"""Clusters of queries on several levels, from coarse to fine, and the memberships of queries in clusters.

Rule: nothing here depends on chance or on the order of rows, so that training again gives the same clusters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.features.pca import PcaMap
from routers.numeric.lloyd import improve_centres

COMPONENTS = 32
_LLOYD_STEPS = 10
# A cluster of fewer rows than this describes the rows rather than a kind of query.
_LEAST_ROWS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Centres in a space of leading components of the views.

    Attributes:
        space: maps views to [n, D].
        centres: [C, D] the centres of all levels, one level after another.
        sizes: the number of centres of each level.
    """

    space: PcaMap
    centres: Floats
    sizes: tuple[int, ...]

    @classmethod
    def fit(cls, views: Views, levels: Sequence[int]) -> Clusters:
        """Learn clusters; `levels` has the largest number of clusters of each level. Raises KeyError without views."""
        space = PcaMap.fit(views, components=COMPONENTS)
        features = space.rows(views)
        found = [fit_centres(features, count) for count in levels]
        return cls(space=space, centres=np.concatenate(found), sizes=tuple(len(centres) for centres in found))

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]) -> Clusters:
        """Return the clusters of arrays that `arrays` gave. Raises KeyError or ValueError where shapes disagree."""
        space = PcaMap.restore(arrays, view_dims)
        centres, sizes = arrays["centres"], tuple(int(size) for size in arrays["sizes"])
        shape = (sum(sizes), sum(view.axes.shape[1] for view in space.views))
        if centres.shape != shape:
            raise ValueError(f"array 'centres' is {centres.shape}, not {shape}")
        return cls(space=space, centres=centres, sizes=sizes)

    def level(self, place: int) -> Clusters:
        """Return the clusters of one level only."""
        end = sum(self.sizes[: place + 1])
        centres = self.centres[end - self.sizes[place] : end]
        return Clusters(space=self.space, centres=centres, sizes=(self.sizes[place],))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every numeric part, by name."""
        return {**self.space.arrays(), "centres": self.centres, "sizes": np.array(self.sizes, dtype=np.int64)}

    def memberships(self, views: Views, temperature: float) -> Floats:
        """Return memberships [n, C], which sum to 1 on each level.

        A lower temperature gives the nearest centre a larger share. Raises KeyError for a missing view, ValueError for
        a wrong dimension.
        """
        return self.softened(self.distances(views), temperature)

    def distances(self, views: Views) -> Floats:
        """Return [n, C] the squared distances to the centres."""
        return _distances(self.space.rows(views), self.centres)

    def softened(self, distances: Floats, temperature: float) -> Floats:
        """Return memberships [n, C] from squared distances [n, C]."""
        shares, start = np.empty_like(distances), 0
        for size in self.sizes:
            level = distances[:, start : start + size]
            weights = np.exp((level.min(axis=1, keepdims=True) - level) / temperature)
            shares[:, start : start + size] = weights / weights.sum(axis=1, keepdims=True)
            start += size
        return shares


def fit_centres(features: Floats, count: int) -> Floats:
    """Return centres [at most count, D] of k-means, started from PCA-Part. Raises ValueError without scikit-learn.

    PCA-Part repeatedly splits the cluster of the largest error along its principal axis: Su and Dy, "In search of
    deterministic methods for initializing K-means" (Intelligent Data Analysis, 2007).
    """
    count = max(1, min(count, len(features) // _LEAST_ROWS))
    return improve_centres(features, _split_along_principal_axes(features, count), _LLOYD_STEPS)


def _split_along_principal_axes(features: Floats, count: int) -> Floats:
    parts = [features]
    errors = [_error(features)]
    smallest = 1e-9 * max(errors[0], 1e-300)
    while len(parts) < count:
        worst = int(np.argmax(errors))
        if errors[worst] <= smallest:
            break  # the rows of each part are copies of each other
        centred = parts[worst] - parts[worst].mean(axis=0)
        axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
        above = centred @ axis > 0
        halves = parts[worst][above], parts[worst][~above]
        parts[worst : worst + 1] = halves
        errors[worst : worst + 1] = [_error(half) for half in halves]
    return np.array([part.mean(axis=0) for part in parts])


def _error(part: Floats) -> float:
    return float(((part - part.mean(axis=0)) ** 2).sum())


def _distances(features: Floats, centres: Floats) -> Floats:
    squares = (features**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)
    return np.asarray(np.maximum(squares - 2 * features @ centres.T, 0.0), dtype=np.float64)
