"""The memory of nearest-neighbour routers: training queries as points, and each candidate's score at each point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.features.pca import PcaMap, PcaView

Vectors = NDArray[np.float32]

# Near-duplicates of a question tell more than similar images do.
_TEXT_WEIGHT = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Training queries as points, in half precision in the artifact and in single precision in memory.

    Attributes:
        space: maps views to [n, D].
        points: [N, D].
        means: [K] each candidate's mean score.
        residuals: [N, K] score minus the candidate's mean, 0 where the score was not observed.
        seen: [N, K] 1 where the score was observed, else 0.
    """

    space: PcaMap
    points: Vectors
    means: Floats
    residuals: Vectors
    seen: Vectors

    @classmethod
    def fit(cls, score: Floats, views: Views) -> Memory:
        """Learn from training rows; `score` is [N, K], NaN where missing."""
        space = _space(views)
        observed = ~np.isnan(score)
        filled = np.where(observed, score, 0.0)
        # One imagined outcome per candidate gives a mean to a candidate whose outcomes are all hidden by a fold.
        overall = filled.sum() / max(int(observed.sum()), 1)
        means = (filled.sum(axis=0) + overall) / (observed.sum(axis=0) + 1)
        return cls(
            space=space,
            points=_halved(space.rows(views)),
            means=means,
            residuals=_halved(np.where(observed, score - means, 0.0)),
            seen=observed.astype(np.float32),
        )

    def rows(self, views: Views) -> Vectors:
        """Return the points [n, D] of queries. Raises KeyError for a missing view, ValueError for a wrong dimension."""
        return self.space.rows(views).astype(np.float32)

    def squared_distances(self, rows: Vectors) -> Vectors:
        """Return [n, N] the squared distances of rows to every point."""
        squares = np.einsum("nd,nd->n", rows, rows)[:, None] + np.einsum("nd,nd->n", self.points, self.points)
        return np.asarray(np.maximum(squares - 2 * (rows @ self.points.T), 0.0), dtype=np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every numeric part, by name."""
        return {
            **self.space.arrays(),
            "points": self.points.astype(np.float16),
            "means": self.means,
            "residuals": self.residuals.astype(np.float16),
            "seen": self.seen.astype(np.uint8),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]) -> Memory:
        """Return the memory of arrays that `arrays` gave. Raises KeyError or ValueError where shapes disagree."""
        space = PcaMap.restore(arrays, view_dims)
        points, means, residuals, seen = (arrays[name] for name in ("points", "means", "residuals", "seen"))
        if points.shape != (len(points), sum(view.axes.shape[1] for view in space.views)):
            raise ValueError(f"array 'points' is {points.shape}, which does not fit its space")
        for name, array in (("residuals", residuals), ("seen", seen)):
            if array.shape != (len(points), len(means)):
                raise ValueError(f"array {name!r} is {array.shape}, not {(len(points), len(means))}")
        points, residuals, seen = (array.astype(np.float32) for array in (points, residuals, seen))
        return cls(space=space, points=points, means=means, residuals=residuals, seen=seen)


def _space(views: Views) -> PcaMap:
    """Return principal components at their own scale (not whitened), each view scaled by its weight in the distance."""
    scaled: list[PcaView] = []
    for view in PcaMap.fit(views).views:
        lengths = np.sqrt(np.mean(view.apply(views) ** 2, axis=0))  # roots of the components' own scales
        total = np.sqrt(np.sum(lengths**4)) or 1.0
        weight = _TEXT_WEIGHT if view.name == "text" else 1.0
        scaled.append(view.then(np.diag(np.sqrt(weight / (1.0 + _TEXT_WEIGHT)) * lengths / total)))
    return PcaMap(tuple(scaled))


def _halved(values: Floats) -> Vectors:
    """Return values rounded as the artifact stores them, so that a restored router forecasts as the fitted one did."""
    return values.astype(np.float16).astype(np.float32)
