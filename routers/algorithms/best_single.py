"""Best single: forecasts each candidate's mean score for every query, so one candidate is the best for all queries.

This is the simplest router; every other router has to beat it.
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
    """Implements `routers.forecasting.head.Head`; `means` is [K].

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
        >>> router = ALGORITHMS["best_single"].fit(table, views)
        >>> router.forecast(views).quality[:2].round(1).tolist()  # the same for a greeting and for a chart
        [[0.5, 0.9], [0.5, 0.9]]
    """

    algorithm: ClassVar[str] = "best_single"

    means: Floats
    view_dims: Mapping[str, int]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def quality(self, views: Views) -> Floats:
        """Return [n, K] mean scores; all rows are equal."""
        for name, dimension in self.view_dims.items():
            if views[name].ndim != 2 or views[name].shape[1] != dimension:
                raise ValueError(f"view {name!r} is {views[name].shape}, not [n, {dimension}]")
        return np.tile(self.means, (len(views[next(iter(self.view_dims))]), 1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"means": self.means}

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> BestSingle:
        """Learn the means over observed cells. The head names one view too: its rows give the number of queries."""
        del seed  # a mean does not depend on chance
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
