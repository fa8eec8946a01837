"""Calibration: turns raw forecasts of a head into expected scores, by held-out forecasts.

Only the range is learned. A slope and an intercept for each candidate (Platt, "Probabilistic Outputs for Support
Vector Machines", 1999, with shrinkage) were tried on DynaMath for the ensemble, with 20% of groups to learn from:
log-loss changed by less than 0.002 in either direction and nAUC fell by 0.0005 to 0.003, because a few dozen groups
tell too little about a single candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats

# Tables of this size are too small to support a forecast of certain success or certain failure.
QUALITY_FLOOR = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The range of forecasts of each candidate.

    Attributes:
        quality_low, quality_high: [K] the range of held-out forecasts; no forecast is outside it.
    """

    quality_low: Floats
    quality_high: Floats

    @classmethod
    def fit(cls, held_out: Floats, score: Floats) -> Calibration:
        """Learn from held-out forecasts [n, K] and observed scores [n, K], NaN where missing."""
        seen = np.where(np.isnan(score), np.nan, held_out)
        return cls(
            quality_low=np.clip(np.nanmin(seen, axis=0), QUALITY_FLOOR, 1 - QUALITY_FLOOR),
            quality_high=np.clip(np.nanmax(seen, axis=0), QUALITY_FLOOR, 1 - QUALITY_FLOOR),
        )

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], candidates: int) -> Calibration:
        """Restore from arrays named as the attributes. Raises KeyError or ValueError where shapes disagree."""
        return cls(**{part.name: column_array(arrays, part.name, candidates) for part in fields(cls)})

    def apply(self, raw: Floats) -> Floats:
        """Return expected scores [n, K]."""
        return np.asarray(np.minimum(np.maximum(raw, self.quality_low), self.quality_high), dtype=np.float64)


def column_array(arrays: Mapping[str, NDArray[Any]], name: str, candidates: int) -> NDArray[Any]:
    """Return the [K] array of this name. Raises KeyError where it is missing, ValueError where its shape differs."""
    if arrays[name].shape != (candidates,):
        raise ValueError(f"array {name!r} is {arrays[name].shape}, not {(candidates,)}")
    return arrays[name]
