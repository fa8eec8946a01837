"""The weights of cells to learn from, where cells do not all count the same.

A cell that was drawn with probability p represents 1/p cells of its kind. Weighting by 1/p corrects the bias from the
choice of cells, but adds variance, because a cell drawn once in a hundred times then counts like a hundred cells. For
learning, weights are therefore flattened by a power (Shimodaira, "Improving predictive inference under covariate shift
by weighting the log-likelihood function", 2000). They are also scaled, so that the cells of one candidate and source
together count for what they tell: Kish's effective number, (sum w)^2 / sum w^2, which is the number of cells where all
weights are equal.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats
from routers.table.outcome_table import OutcomeTable

FLATTENED = 0.5
"""The power that weights are raised to: 0 makes all weights equal, 1 keeps the weights as they are."""


def to_learn_from(table: OutcomeTable, power: float = FLATTENED) -> OutcomeTable:
    """Return the table with weights to fit by; `weight` is None where all weights would be 1.

    Raises ValueError for a power outside 0 to 1.
    """
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
    """Return mean squared errors [...] of forecasts [..., n, K] over the cells of `truth` [n, K], NaN where missing."""
    errors = (forecasts - truth) ** 2
    if weights is None:
        return np.asarray(np.nanmean(errors, axis=(-2, -1)), dtype=np.float64)
    return np.asarray(np.nansum(errors * weights, axis=(-2, -1)) / weights.sum(), dtype=np.float64)


def rows_of_weights(weights: Floats | None, rows: NDArray[np.intp]) -> Floats | None:
    """Return the weights of these rows; None for None."""
    return None if weights is None else weights[rows]
