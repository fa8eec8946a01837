"""Sharpness: by how much forecasts depart from the means too little, told from held-out groups.

One factor on the departures' logits (temperature: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017).
Averages of many forecasts err on the side of the means; how far is soon learned from hundreds of groups, and from a
few dozen not at all, so the factor is drawn to 1 by as much as the groups disagree on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from routers.base import Floats
from routers.table.split import numbered

_USUAL, _SPREAD = 1.0, 0.05  # of the factor, before any data
_FLOOR = 0.005
_STEPS = 30


def sharpened(forecast: Floats, means: Floats, factor: float) -> Floats:
    """[n, K] from forecasts [n, K]; `means` are [K] or [n, K]."""
    start = _logit(means)
    return np.asarray(1.0 / (1.0 + np.exp(-start - factor * (_logit(forecast) - start))), dtype=np.float64)


def sharpness(held_out: Floats, means: Floats, score: Floats, groups: Sequence[str]) -> float:
    """The factor of the least log-loss, by Newton's method, drawn to 1; all [n, K], `score` NaN where missing."""
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
