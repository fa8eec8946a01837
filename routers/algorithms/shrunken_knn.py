"""Distance-weighted, shrunken kNN: averages all training queries, weighted by nearness, and the candidate's mean.

Kernel regression (Nadaraya, "On Estimating Regression", 1964; Watson, "Smooth Regression Analysis", 1964) with
imagined outcomes at the mean (James-Stein shrinkage; Efron and Morris, JASA 1975): first how hard a query is for
all candidates alike, then, with a shrinkage of its own, how each candidate departs from that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.numeric.neighbours import Memory
from routers.numeric.ridge import rows_of
from routers.table.outcome_table import OutcomeTable
from routers.table.split import grouped_folds

TEMPERATURES = (0.03, 0.06, 0.12, 0.25, 0.5)
SHRINKAGES = tuple(product((0.1, 0.5, 2.0), (0.1, 1.0, 5.0, 20.0)))
_FOLDS = 5
_CHUNK = 1024  # queries whose weights are computed together


@dataclass(frozen=True, slots=True)
class KernelSettings:
    """The width of the kernel, and the numbers of imagined outcomes.

    Attributes:
        temperature: the squared distance over which a neighbour's weight falls by a factor of e.
        shared: imagined outcomes per candidate, for how hard a query is.
        own: imagined outcomes per candidate, for how the candidate departs from that.
    """

    temperature: float
    shared: float
    own: float


@dataclass(frozen=True, slots=True, eq=False)
class ShrunkenKnn:
    """Implements `routers.forecasting.head.Head`."""

    algorithm: ClassVar[str] = "shrunken_knn"

    memory: Memory
    smoothing: KernelSettings

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.memory.space.view_dims

    @property
    def settings(self) -> Mapping[str, Any]:
        return {f"chosen_{name}": value for name, value in asdict(self.smoothing).items()}

    def quality(self, views: Views) -> Floats:
        sums, counts = _weighted(self.memory, views, (self.smoothing.temperature,))
        return _shrunk(self.memory, (sums[0], counts[0]), self.smoothing)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        return self.memory.arrays()

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> ShrunkenKnn:
        return cls.fit_held_out(table, views, seed=seed)[0]

    @classmethod
    def fit_held_out(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> tuple[ShrunkenKnn, Floats]:
        """Return the head, and [n, K] forecasts of each row by a fit that did not see the row's group."""
        grid = [KernelSettings(warmth, *shrinkage) for warmth in TEMPERATURES for shrinkage in SHRINKAGES]
        held_out = np.empty((len(grid), *table.score.shape))
        for fold in grouped_folds(table.groups, _FOLDS, seed):
            memory = Memory.fit(table.score[fold.train], rows_of(views, fold.train))
            sums, counts = _weighted(memory, rows_of(views, fold.test), TEMPERATURES)
            for place, smoothing in enumerate(grid):
                warmth = place // len(SHRINKAGES)
                held_out[place, fold.test] = _shrunk(memory, (sums[warmth], counts[warmth]), smoothing)
        best = int(np.argmin(np.nanmean((held_out - table.score) ** 2, axis=(1, 2))))
        return cls(Memory.fit(table.score, views), grid[best]), held_out[best]

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]
    ) -> ShrunkenKnn:
        smoothing = KernelSettings(*(float(settings[f"chosen_{name}"]) for name in ("temperature", "shared", "own")))
        if min(asdict(smoothing).values()) <= 0:
            raise ValueError(f"{smoothing} is not of positive numbers")
        return cls(Memory.restore(arrays, view_dims), smoothing)


def _weighted(memory: Memory, views: Views, temperatures: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Return two arrays [temperatures, n, K]: weighted sums of neighbours' residuals, and sums of those weights.

    A neighbour counts for the candidates that it observed.
    """
    rows = memory.rows(views)
    taught = np.concatenate([memory.residuals, memory.seen], axis=1)
    width = len(memory.means)
    found = np.empty((len(temperatures), len(rows), 2 * width))
    for start in range(0, len(rows), _CHUNK):
        distances = memory.squared_distances(rows[start : start + _CHUNK])
        for place, temperature in enumerate(temperatures):
            found[place, start : start + _CHUNK] = np.exp(distances / np.float32(-temperature)) @ taught
    return found[:, :, :width], found[:, :, width:]


def _shrunk(memory: Memory, weighted: tuple[Floats, Floats], smoothing: KernelSettings) -> Floats:
    sums, counts = weighted
    imagined = smoothing.shared * len(memory.means)
    shared = (sums.sum(axis=1) / (counts.sum(axis=1) + imagined))[:, None]
    own = (sums - counts * shared) / (counts + smoothing.own)
    return np.asarray(memory.means + shared + own, dtype=np.float64)
