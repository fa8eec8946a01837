"""Factor regression as a head: the idea of LinearMF, without what LinearMF forecasts beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.features.composed_map import Composed
from routers.features.fusion import FusionOptions
from routers.features.pca import usual_views
from routers.numeric.ridge import RidgeOptions, Target, fit_ridges
from routers.table.outcome_table import OutcomeTable


@dataclass(frozen=True, slots=True, eq=False)
class FactorHead:
    """Implements `routers.forecasting.head.Head`; `routers.algorithms.linear_mf` is its quicker twin."""

    algorithm: ClassVar[str] = "factor_head"

    composed: Composed
    settings: Mapping[str, Any]

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.composed.view_dims

    def quality(self, views: Views) -> Floats:
        return self.composed.apply(views).astype(np.float64)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        return self.composed.arrays()

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> FactorHead:
        return cls.fit_held_out(table, views, seed=seed)[0]

    @classmethod
    def fit_held_out(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> tuple[FactorHead, Floats]:
        """The head, and [n, K] forecasts of each row by a fit that did not see the row's group."""
        options = RidgeOptions(fusion=FusionOptions(views=usual_views(views)), seed=seed)
        ridges = fit_ridges(table.groups, views, (Target(table.score, table.unequal_weights),), options)
        (quality,) = ridges.fits
        composed = ridges.fusion.compose(quality.linear.weights, quality.linear.bias)
        return cls(composed, {"rank": options.rank, "chosen_ridge": quality.ridge}), quality.held_out

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]
    ) -> FactorHead:
        left, right = (int(width) for width in arrays["crossed"])
        return cls(Composed.restore(arrays, view_dims, len(arrays["offset"]) - left - right), settings)
