"""Sharpness: a factor that corrects forecasts which are too close to the means, learned from held-out groups.

One factor multiplies the departures in logits (temperature: Guo et al., "On Calibration of Modern Neural Networks",
ICML 2017). Averages of many forecasts are too close to the means. Hundreds of groups tell by how much, a few dozen do
not, so the factor is shrunk to 1 by as much as the groups disagree about it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from routers.base import Floats
from routers.table.split import numbered

_USUAL, _SPREAD = 1.0, 0.05  # prior mean and standard deviation of the factor
_FLOOR = 0.005
_STEPS = 30


def sharpened(forecast: Floats, means: Floats, factor: float) -> Floats:
    """Return forecasts [n, K] whose departures from `means` ([K] or [n, K]), in logits, are multiplied by `factor`."""
    start = _logit(means)
    return np.asarray(1.0 / (1.0 + np.exp(-start - factor * (_logit(forecast) - start))), dtype=np.float64)


def sharpness(held_out: Floats, means: Floats, score: Floats, groups: Sequence[str]) -> float:
    """Return the factor of the least log-loss, by Newton's method, shrunk to 1.

    All arrays are [n, K] (`means` may be [K]); `score` is NaN where missing.
    """
    start = np.broadcast_to(_logit(means), score.shape)
    observed = ~np.isnan(score)
    truth = np.where(observed, score, 0.0)
    departure = np.where(observed, _logit(held_out) - start, 0.0)
    factor = _USUAL
    for _ in range(_STEPS):
        chance = 1.0 / (1.0 + np.exp(-start - factor * departure))
        slopes = ((truth - chance) * departure).sum(axis=1)
        bend = max(float((chance * (1 - chance) * departure**2).sum()), 1e-9)
        factor = float(np.clip(factor + slopes.sum() / bend, 0.5, 2.0))
    variance = float((np.bincount(numbered(groups)[1], slopes) ** 2).sum()) / bend**2
    return _USUAL + (factor - _USUAL) * _SPREAD**2 / (_SPREAD**2 + variance)


def _logit(chance: Floats) -> Floats:
    inside = np.clip(chance, _FLOOR, 1 - _FLOOR)
    return np.asarray(np.log(inside) - np.log1p(-inside), dtype=np.float64)
