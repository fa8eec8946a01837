"""k-means by scikit-learn, which training needs (extra `science`) and forecasting does not need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats

_STARTS = 3
_MOST_STEPS = 50


def fit_centres(rows: Floats, count: int, seed: int) -> Floats:
    """Return centres [at most count, D] of rows [n, D], the best of several starts; never more than distinct rows.

    The distinct rows are sorted and weighted by how often each occurs, so that centres do not depend on row order.
    Raises ValueError where scikit-learn is not installed.
    """
    distinct, weights = np.unique(rows, axis=0, return_counts=True)
    count = min(count, len(distinct))
    return _fitted(distinct, weights, n_clusters=count, n_init=_STARTS, max_iter=_MOST_STEPS, random_state=seed)


def improve_centres(rows: Floats, centres: Floats, most_steps: int) -> Floats:
    """Return centres [k, D] after Lloyd's steps from the given centres [k, D]. Raises as `fit_centres` does."""
    return _fitted(rows, None, n_clusters=len(centres), init=centres, n_init=1, max_iter=most_steps)


def nearest(rows: Floats, centres: Floats) -> NDArray[np.intp]:
    """Return [n] the index of each row's nearest centre; in a tie, the first."""
    distances = (centres**2).sum(axis=1) - 2.0 * rows @ centres.T  # without each row's own square: same order
    return np.asarray(np.argmin(distances, axis=1), dtype=np.intp)


def _fitted(rows: Floats, weights: NDArray[np.intp] | None, **how: Any) -> Floats:
    try:
        cluster, threadpoolctl = import_module("sklearn.cluster"), import_module("threadpoolctl")
    except ImportError as error:
        raise ValueError("k-means needs scikit-learn: pip install 'loupe-gateway[science]'") from error
    means = cluster.KMeans(tol=0.0, **how)
    with threadpoolctl.threadpool_limits(1):  # several threads sum in varying order, which changes the last digits
        means.fit(rows, sample_weight=weights)
    return np.asarray(means.cluster_centers_, dtype=np.float64)
