"""kNN: forecasts the mean score of the nearest training queries; the simplest router of MMR-Bench (arXiv 2601.17814).

Nearness is the cosine of the views' principal components; grouped cross-validation chooses the number of neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.numeric.neighbours import Memory, Vectors
from routers.numeric.ridge import rows_of
from routers.table.outcome_table import OutcomeTable
from routers.table.split import grouped_folds

NEIGHBOURS = (5, 10, 20, 40, 80, 160)
"""The numbers of neighbours that cross-validation chooses among."""
_FOLDS = 5
_CHUNK = 512  # queries whose neighbours are gathered together


@dataclass(frozen=True, slots=True, eq=False)
class Knn:
    """Implements `routers.forecasting.head.Head`.

    Example:
        >>> import numpy as np
        >>> from routers.registry import ALGORITHMS
        >>> from routers.table.outcome_table import OutcomeTable
        >>> rows = range(24)
        >>> table = OutcomeTable(
        ...     query_ids=tuple(f"query {row}" for row in rows),
        ...     groups=tuple(f"group {row // 8}" for row in rows),
        ...     questions=tuple("chart" if row % 2 else "greeting" for row in rows),
        ...     image_paths=(None,) * 24,
        ...     candidates=("small", "large"),
        ...     score=np.array([[0.8, 0.9], [0.2, 0.9]] * 12),  # "small" fails on charts
        ...     output_tokens=np.full((24, 2), 80.0),
        ...     cost_usd=np.full((24, 2), [0.001, 0.01]),
        ... )
        >>> views = {"text": np.array([[1, 0], [0, 1]] * 12, dtype=np.float32)}
        >>> router = ALGORITHMS["knn"].fit(table, views)
        >>> router.forecast(views).quality[:2].round(1).tolist()  # a greeting, then a chart
        [[0.8, 0.9], [0.2, 0.9]]
    """

    algorithm: ClassVar[str] = "knn"

    memory: Memory
    neighbours: int

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.memory.space.view_dims

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"chosen_neighbours": self.neighbours}

    def quality(self, views: Views) -> Floats:
        (quality,) = _means_of_nearest(self.memory, views, (self.neighbours,))
        return np.asarray(quality, dtype=np.float64)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        return self.memory.arrays()

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> Knn:
        return cls.fit_held_out(table, views, seed=seed)[0]

    @classmethod
    def fit_held_out(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> tuple[Knn, Floats]:
        """Return the head, and [n, K] forecasts of each row by a fit that did not see the row's group."""
        held_out = np.empty((len(NEIGHBOURS), *table.score.shape))
        for fold in grouped_folds(table.groups, _FOLDS, seed):
            memory = Memory.fit(table.score[fold.train], rows_of(views, fold.train))
            held_out[:, fold.test] = _means_of_nearest(memory, rows_of(views, fold.test), NEIGHBOURS)
        best = int(np.argmin(np.nanmean((held_out - table.score) ** 2, axis=(1, 2))))
        return cls(Memory.fit(table.score, views), NEIGHBOURS[best]), held_out[best]

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]
    ) -> Knn:
        neighbours = int(settings["chosen_neighbours"])
        if neighbours < 1:
            raise ValueError(f"{neighbours} neighbours")
        return cls(Memory.restore(arrays, view_dims), neighbours)


def _means_of_nearest(memory: Memory, views: Views, counts: tuple[int, ...]) -> Floats:
    """Return [counts, n, K] mean scores; a candidate that no neighbour observed gets its overall mean."""
    rows, points = _unit(memory.rows(views)), _unit(memory.points)
    most = min(max(counts), len(points))
    found = np.empty((len(counts), len(rows), len(memory.means)))
    for start in range(0, len(rows), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        cosines = rows[chunk] @ points.T
        nearest = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
        if len(counts) > 1:
            order = np.argsort(-np.take_along_axis(cosines, nearest, axis=1), axis=1, kind="stable")
            nearest = np.take_along_axis(nearest, order, axis=1)
        for place, count in enumerate(counts):
            taken = nearest[:, :count]
            sums, seen = memory.residuals[taken].sum(axis=1), memory.seen[taken].sum(axis=1)
            found[place, chunk] = memory.means + sums / np.maximum(seen, 1.0)
    return found


def _unit(rows: Vectors) -> Vectors:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)
