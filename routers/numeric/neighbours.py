"""What nearest-neighbour routers keep: the training queries as points, and what each candidate did there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.features.pca import PcaMap, PcaView

Vectors = NDArray[np.float32]

# Near-duplicates of a question say more than look-alike pictures do.
_TEXT_WEIGHT = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Training queries as points, of half precision in the artifact and single precision at work.

    Attributes:
        space: views -> [n, D].
        points: [N, D].
        means: [K] each candidate's mean score.
        residuals: [N, K] score less the candidate's mean, 0 where it was not observed.
        seen: [N, K] 1 where it was observed, else 0.
    """

    space: PcaMap
    points: Vectors
    means: Floats
    residuals: Vectors
    seen: Vectors

    @classmethod
    def fit(cls, score: Floats, views: Views) -> Memory:
        """From training rows; `score` is [N, K], NaN where missing."""
        space = _space(views)
        observed = ~np.isnan(score)
        filled = np.where(observed, score, 0.0)
        # One imagined outcome each keeps the mean of a candidate of which a fold hides all.
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
        """[n, D] points of these queries. Raises KeyError for a missing view, ValueError for a wrong dimension."""
        return self.space.rows(views).astype(np.float32)

    def squared_distances(self, rows: Vectors) -> Vectors:
        """[n, N] to every point."""
        squares = np.einsum("nd,nd->n", rows, rows)[:, None] + np.einsum("nd,nd->n", self.points, self.points)
        return np.asarray(np.maximum(squares - 2 * (rows @ self.points.T), 0.0), dtype=np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything numeric, by name."""
        return {
            **self.space.arrays(),
            "points": self.points.astype(np.float16),
            "means": self.means,
            "residuals": self.residuals.astype(np.float16),
            "seen": self.seen.astype(np.uint8),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]) -> Memory:
        """From what `arrays` gave. Raises KeyError or ValueError where shapes disagree."""
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
    """Principal components at their own scale (not whitened), each view's share of the distance by its weight."""
    scaled: list[PcaView] = []
    for view in PcaMap.fit(views).views:
        lengths = np.sqrt(np.mean(view.apply(views) ** 2, axis=0))  # roots of the components' own scales
        total = np.sqrt(np.sum(lengths**4)) or 1.0
        weight = _TEXT_WEIGHT if view.name == "text" else 1.0
        scaled.append(view.then(np.diag(np.sqrt(weight / (1.0 + _TEXT_WEIGHT)) * lengths / total)))
    return PcaMap(tuple(scaled))


def _halved(values: Floats) -> Vectors:
    """Rounded as the artifact will have them, so that a saved router forecasts what the fitted one did."""
    return values.astype(np.float16).astype(np.float32)
