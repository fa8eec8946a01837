"""How much each cell counts, where cells do not count alike.

A cell that was drawn with probability p stands for 1/p of its kind: weighing by it mends what the choice of cells
distorts, and costs variance, for one cell in a hundred then counts like a hundred. To learn from, weights are
flattened by a power (Shimodaira, "Improving predictive inference under covariate shift by weighting the
log-likelihood function", 2000) and scaled so that the cells of a candidate and source together count for what they
know: Kish's effective number, (sum w)^2 / sum w^2, which is their number where all weigh alike.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats
from routers.table.outcome_table import OutcomeTable

FLATTENED = 0.5
"""The power that weights are taken to: 0 is all alike, 1 is the weights as they are."""


def to_learn_from(table: OutcomeTable, power: float = FLATTENED) -> OutcomeTable:
    """The table with weights to fit by; one without weights, or with all alike, has none."""
    if not 0 <= power <= 1:
        raise ValueError(f"weights are raised to a power from 0 to 1, not to {power:g}")
    weights = table.weights
    source = np.full(weights.shape, "") if table.source is None else table.source
    found = np.ones(weights.shape)
    for name in np.unique(source).tolist():
        for column in range(weights.shape[1]):
            cells = (source[:, column] == name) & (weights[:, column] > 0)
            if cells.any():
                flat = weights[cells, column] ** power
                found[cells, column] = flat * flat.sum() / (flat @ flat)
    found[table.mask & (weights == 0)] = 0.0
    counted = found[table.mask]
    return replace(table, weight=None if np.allclose(counted, 1.0) else np.where(table.mask, found, np.nan))


def mean_square(forecasts: Floats, truth: Floats, weights: Floats | None = None) -> NDArray[np.float64]:
    """[...] of forecasts [..., n, K]: mean squared error over the cells of `truth` [n, K], NaN where missing."""
    errors = (forecasts - truth) ** 2
    if weights is None:
        return np.asarray(np.nanmean(errors, axis=(-2, -1)), dtype=np.float64)
    return np.asarray(np.nansum(errors * weights, axis=(-2, -1)) / weights.sum(), dtype=np.float64)


def rows_of_weights(weights: Floats | None, rows: NDArray[np.intp]) -> Floats | None:
    """The weights of these rows."""
    return None if weights is None else weights[rows]
