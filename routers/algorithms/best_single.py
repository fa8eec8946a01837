"""Best single: every query is forecast each candidate's mean score, so one candidate is best for all of them.

The simplest router there is: what any other has to beat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.features.pca import usual_views
from routers.table.outcome_table import OutcomeTable
from routers.table.summary import column_means


@dataclass(frozen=True, slots=True, eq=False)
class BestSingle:
    """Implements `routers.forecasting.head.Head`; `means` is [K]."""

    algorithm: ClassVar[str] = "best_single"

    means: Floats
    view_dims: Mapping[str, int]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def quality(self, views: Views) -> Floats:
        """[n, K], all rows alike."""
        for name, dimension in self.view_dims.items():
            if views[name].ndim != 2 or views[name].shape[1] != dimension:
                raise ValueError(f"view {name!r} is {views[name].shape}, not [n, {dimension}]")
        return np.tile(self.means, (len(views[next(iter(self.view_dims))]), 1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"means": self.means}

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> BestSingle:
        """Means over observed cells. The first view is read too: it tells how many queries there are."""
        del seed  # a mean depends on no chance
        name = usual_views(views)[0]
        return cls(column_means(table.score, table.unequal_weights), {name: views[name].shape[1]})

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]
    ) -> BestSingle:
        """Raises KeyError or ValueError where shapes disagree."""
        if arrays["means"].ndim != 1 or not view_dims:
            raise ValueError("the means are not a vector, or no view is named")
        return cls(arrays["means"], view_dims, settings)
