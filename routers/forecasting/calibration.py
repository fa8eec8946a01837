"""Calibration: raw forecasts of a family -> expected scores, by what held-out groups showed.

Only the range is learned. A slope and an intercept for each candidate (Platt, "Probabilistic Outputs for Support
Vector Machines", 1999, shrunk towards none) were measured on DynaMath for the ensemble, 20% of groups to learn from:
log-loss moved by less than 0.002 either way and nAUC fell by 0.0005 to 0.003, for a few dozen groups say too little
of each candidate apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats

# A forecast of a certain success or failure is a claim that no table of this size supports.
QUALITY_FLOOR = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Per candidate; each [K].

    Attributes:
        quality_low, quality_high: the range of held-out forecasts: no query is forecast beyond it.
    """

    quality_low: Floats
    quality_high: Floats

    @classmethod
    def fit(cls, held_out: Floats, score: Floats) -> Calibration:
        """From held-out forecasts [n, K] and what was observed [n, K], NaN where missing."""
        seen = np.where(np.isnan(score), np.nan, held_out)
        return cls(
            quality_low=np.clip(np.nanmin(seen, axis=0), QUALITY_FLOOR, 1 - QUALITY_FLOOR),
            quality_high=np.clip(np.nanmax(seen, axis=0), QUALITY_FLOOR, 1 - QUALITY_FLOOR),
        )

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], candidates: int) -> Calibration:
        """From arrays named as the attributes. Raises KeyError or ValueError where shapes disagree."""
        return cls(**{part.name: column_array(arrays, part.name, candidates) for part in fields(cls)})

    def apply(self, raw: Floats) -> Floats:
        """[n, K] expected scores."""
        return np.asarray(np.minimum(np.maximum(raw, self.quality_low), self.quality_high), dtype=np.float64)


def column_array(arrays: Mapping[str, NDArray[Any]], name: str, candidates: int) -> NDArray[Any]:
    """The [K] array of this name. Raises KeyError or ValueError where there is none of that shape."""
    if arrays[name].shape != (candidates,):
        raise ValueError(f"array {name!r} is {arrays[name].shape}, not {(candidates,)}")
    return arrays[name]
