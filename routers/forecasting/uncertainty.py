"""The uncertainty of a linear forecast: the ridge posterior's standard deviation, from a candidate's observed queries.

Var[x] = sigma^2 x' (X'X + ridge I)^-1 x with each candidate's own observed rows X. This ignores what similar candidates
tell, so it overstates the spread of a candidate with few observations: an upper bound, so safe. A quadratic form in D
features is too slow for the request's path, so it is kept only in the leading axes of the features, and the rest is
replaced by its mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats
from routers.numeric.masked_least_squares import LinearSystem

LEVERAGE_AXES = 24
"""The number of leading axes of the features that the quadratic form keeps."""


@dataclass(frozen=True, slots=True, eq=False)
class Leverage:
    """The quadratic form std[k]^2 = |z @ root[k]|^2 + floor[k], for a query's leading coordinates z.

    Attributes:
        leverage_root: [axes, K * axes] the candidates' roots, concatenated.
        leverage_floor: [K].
    """

    leverage_root: Floats
    leverage_floor: Floats

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], candidates: int) -> Leverage:
        """Restore from arrays named as the attributes. Raises KeyError or ValueError where shapes disagree."""
        shapes = {"leverage_root": (LEVERAGE_AXES, candidates * LEVERAGE_AXES), "leverage_floor": (candidates,)}
        for name, shape in shapes.items():
            if arrays[name].shape != shape:
                raise ValueError(f"array {name!r} is {arrays[name].shape}, not {shape}")
        return cls(**{name: arrays[name] for name in shapes})

    def std(self, coordinates: Floats) -> Floats:
        """Return standard deviations [n, K] from coordinates [n, axes]; at most 0.5, that of a fair coin."""
        turned = (coordinates @ self.leverage_root).reshape(len(coordinates), len(self.leverage_floor), LEVERAGE_AXES)
        variance = np.einsum("nka,nka->nk", turned, turned) + self.leverage_floor
        return np.asarray(np.minimum(np.sqrt(variance), 0.5), dtype=np.float64)


def leverage(
    features: Floats, observed: NDArray[np.bool_], residuals: Floats, ridge: float
) -> tuple[LinearSystem, Leverage]:
    """Return the map from features [n, D] to leading coordinates, and the quadratic form in these coordinates.

    `residuals` [n, K] are of held-out forecasts, NaN where missing: their mean square is each candidate's sigma^2.
    """
    centre = features.mean(axis=0)
    centred = features - centre
    _, axes = np.linalg.eigh(centred.T @ centred)
    leading = axes[:, ::-1][:, :LEVERAGE_AXES]
    noise = np.nanmean(residuals**2, axis=0)
    roots, floors = _root_per_pattern(centred, observed, leading, ridge)
    width = leading.shape[1]
    padded = np.zeros((LEVERAGE_AXES, len(noise), LEVERAGE_AXES))
    for column, (root, floor) in enumerate(zip(roots, floors, strict=True)):
        padded[:width, column, :width] = root * np.sqrt(noise[column])
        floors[column] = floor * noise[column]
    weights = np.zeros((features.shape[1], LEVERAGE_AXES))
    weights[:, :width] = leading
    map_to_axes = LinearSystem(weights=weights, bias=-(centre @ weights))
    return map_to_axes, Leverage(leverage_root=padded.reshape(LEVERAGE_AXES, -1), leverage_floor=np.array(floors))


def _root_per_pattern(
    centred: Floats, observed: NDArray[np.bool_], leading: Floats, ridge: float
) -> tuple[list[Floats], list[float]]:
    """Return for each candidate a root of its posterior in the leading axes, and the mean of the rest, at sigma = 1.

    Candidates that were observed on the same rows share both; the bias adds 1 / rows to the rest.
    """
    known: dict[bytes, tuple[Floats, float]] = {}
    roots, floors = [], []
    for column in range(observed.shape[1]):
        seen = observed[:, column]
        pattern = seen.tobytes()
        if pattern not in known:
            rows = centred[seen]
            posterior = np.linalg.inv(rows.T @ rows + ridge * np.eye(rows.shape[1]))
            inner = leading.T @ posterior @ leading
            values, vectors = np.linalg.eigh(inner)
            whole = np.einsum("nd,nd->n", rows @ posterior, rows).mean()
            kept = np.einsum("nd,nd->n", rows @ leading @ inner, rows @ leading).mean()
            rest = max(float(whole - kept), 0.0) + 1.0 / len(rows)
            known[pattern] = (vectors * np.sqrt(np.maximum(values, 0.0)), rest)
        root, floor = known[pattern]
        roots.append(root)
        floors.append(floor)
    return roots, floors
