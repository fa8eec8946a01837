"""Linear router of MMR-Bench (arXiv 2601.17814): a separate ridge regression for each candidate.

Candidates share nothing but the penalty, which grouped cross-validation chooses. So the difference from LinearMF
(`routers.algorithms.linear_mf`) shows what LinearMF gains by sharing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.features.pca import WHOLE, PcaMap, sized
from routers.numeric.factors import solve
from routers.numeric.masked_least_squares import LinearSystem as Map
from routers.numeric.ridge import rows_of
from routers.table.outcome_table import OutcomeTable
from routers.table.split import grouped_folds
from routers.table.weights import mean_square, rows_of_weights

_FOLDS = 5
_RIDGES = (640.0, 320.0, 160.0, 80.0, 40.0, 20.0, 10.0, 5.0, 2.5, 1.25)


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """Implements `routers.forecasting.head.Head` and `HoldsOut`.

    Attributes:
        maps: each view's map, multiplied out to K columns.
        bias: [K].
    """

    algorithm: ClassVar[str] = "linear"

    maps: PcaMap
    bias: Floats
    settings: Mapping[str, Any]

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.maps.view_dims

    def quality(self, views: Views) -> Floats:
        """Return [n, K] expected scores."""
        return self.maps.summed(views) + self.bias

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {**self.maps.arrays(), "bias": self.bias}

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> Linear:
        return cls.fit_held_out(table, views, seed=seed)[0]

    @classmethod
    def fit_held_out(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> tuple[Linear, Floats]:
        """Return the head, and [n, K] forecasts of each row by a fit that did not see the row's group."""
        apart = np.eye(len(table.candidates))  # factors that share nothing
        weights = table.unequal_weights
        held_out = np.full((len(_RIDGES), *table.score.shape), np.nan)
        for fold in grouped_folds(table.groups, _FOLDS, seed):
            known = rows_of(views, fold.train)
            reduced = PcaMap.fit(known, wide=WHOLE)
            hidden = reduced.rows(rows_of(views, fold.test))
            among = rows_of_weights(weights, fold.train)
            fits = solve(reduced.rows(known), table.score[fold.train], apart, _RIDGES, among)
            for place, fitted in enumerate(fits):
                held_out[place, fold.test] = fitted.apply(hidden)
        best = int(np.argmin(mean_square(held_out, table.score, weights)))
        reduced = PcaMap.fit(views, wide=WHOLE)
        (fitted,) = solve(reduced.rows(views), table.score, apart, [_RIDGES[best]], weights)
        return cls(_multiplied_out(reduced, fitted), fitted.bias, {"ridge": _RIDGES[best]}), held_out[best]

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]
    ) -> Linear:
        """Raises KeyError or ValueError where shapes disagree."""
        maps = PcaMap.restore(arrays, view_dims)
        for view in maps.views:
            sized(arrays, "bias", (view.axes.shape[1],))
        return cls(maps, arrays["bias"], settings)


def _multiplied_out(reduced: PcaMap, fitted: Map) -> PcaMap:
    maps, start = [], 0
    for view in reduced.views:
        stop = start + view.axes.shape[1]
        maps.append(view.then(fitted.weights[start:stop]))
        start = stop
    return PcaMap(tuple(maps))
