"""Blending forecasts: how much of each member to believe, separately for what it says of a query and of a candidate.

That a query is hard for all candidates alike is easy to learn; that one candidate is better at it than another is
what routing lives on, and is mostly noise where data are few. So each member's departure from the means is parted
along the candidates' first common factor, and both parts get weights of their own, not negative, from forecasts of
held-out groups: stacking (Breiman, "Stacked Regressions", Machine Learning 24, 1996) in the coordinates of
Breiman and Friedman, "Predicting Multivariate Responses in Multiple Linear Regression" (JRSS B 59, 1997).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats
from routers.factors import candidate_factors
from routers.protocol import column_means

# Imagined rows, as a share of the observed, in which the first guess at the weights is the truth: of the common
# part and of the candidates' own, where the same data say less.
_TRUST = (2.0, 8.0)
# The share of the scores' variance that a member explains less than the best, for which the first guess falls by e.
_SHARPNESS = 0.006
_STEPS = 300


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """A weighted sum of the members' departures from the means.

    Attributes:
        means: [K] the candidates' mean scores.
        axis: [K] the candidates' common factor, of length 1.
        weights: [2, members]: of the common part, and of the candidates' own.
    """

    means: Floats
    axis: Floats
    weights: Floats

    @classmethod
    def fit(
        cls,
        held_out: Sequence[Floats],
        score: Floats,
        common: Sequence[int] | None = None,
        weights: Floats | None = None,
    ) -> Blend:
        """From the members' held-out forecasts [n, K] each, and what was observed [n, K], NaN where missing.

        `common` are the members whose common part may count; all of them unless told. `weights` [n, K] say how much
        each cell counts, all alike unless told.
        """
        observed = ~np.isnan(score)
        axis = candidate_factors(score, rank=1)[:, 0]
        bare = cls(column_means(score, weights), axis / np.linalg.norm(axis), np.zeros((2, len(held_out))))
        columns = np.stack([part[observed] for part in bare._parts(held_out)], axis=1)
        target = (score - bare.means)[observed]
        if weights is not None:
            root = np.sqrt(weights[observed])
            columns, target = columns * root[:, None], target * root
        counts = np.ones((2, len(held_out)), dtype=bool)
        if common is not None:
            counts[0] = np.isin(np.arange(len(held_out)), common)
        usual = _first_guess(columns, target, counts)
        trust = np.repeat(_TRUST, len(held_out))
        found = np.zeros(columns.shape[1])
        chosen = counts.ravel()
        found[chosen] = _not_negative(columns[:, chosen], target, usual[chosen], trust[chosen])
        return cls(means=bare.means, axis=bare.axis, weights=found.reshape(2, len(held_out)))

    def apply(self, forecasts: Sequence[Floats]) -> Floats:
        """[n, K] from the members' forecasts."""
        parts = zip(self.weights.ravel(), self._parts(forecasts), strict=True)
        return np.asarray(self.means + sum(weight * part for weight, part in parts), dtype=np.float64)

    def _parts(self, forecasts: Sequence[Floats]) -> list[Floats]:
        """The members' common parts, then their own."""
        departures = [forecast - self.means for forecast in forecasts]
        common = [np.outer(departure @ self.axis, self.axis) for departure in departures]
        return common + [departure - part for departure, part in zip(departures, common, strict=True)]


def _first_guess(columns: Floats, target: Floats, counts: NDArray[np.bool_]) -> Floats:
    """[2 * members] weights that add up to 1 in either part: the larger, the more a member explains by itself."""
    errors = np.mean((columns - target[:, None]) ** 2, axis=0).reshape(counts.shape)
    errors[~counts] = np.inf
    behind = (errors - errors.min(axis=1, keepdims=True)) / max(float(np.mean(target**2)), 1e-12)
    shares = np.exp(-behind / _SHARPNESS)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float64).ravel()


def _not_negative(columns: Floats, target: Floats, usual: Floats, trust: Floats) -> Floats:
    """Least squares with weights >= 0, drawn towards `usual`, by coordinate descent on the normal equations."""
    gram = columns.T @ columns
    pull = trust * np.maximum(np.diag(gram), 1e-12)
    right = columns.T @ target + pull * usual
    gram = gram + np.diag(pull)
    weights = usual.copy()
    for _ in range(_STEPS):
        for place in range(len(gram)):
            rest = right[place] - gram[place] @ weights + gram[place, place] * weights[place]
            weights[place] = max(rest / gram[place, place], 0.0)
    return weights
