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

from routers.base import Floats
from routers.factors import candidate_factors

# Imagined rows, as a share of the observed, in which every member deserves the same weight.
_PRIOR_SHARE = 0.05
_STEPS = 500


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """Attributes:
    means: [K].
    axis: [K] the candidates' common factor, of length 1.
    weights: [2, members]: of the common part, and of the candidates' own.
    """

    means: Floats
    axis: Floats
    weights: Floats

    @classmethod
    def fit(cls, held_out: Sequence[Floats], score: Floats) -> Blend:
        """From the members' held-out forecasts [n, K] each, and what was observed [n, K], NaN where missing."""
        observed = ~np.isnan(score)
        means = np.nanmean(score, axis=0)
        axis = candidate_factors(score, rank=1)[:, 0]
        axis = axis / np.linalg.norm(axis)
        bare = cls(means=means, axis=axis, weights=np.zeros((2, len(held_out))))
        columns = np.stack([part[observed] for part in bare._parts(held_out)], axis=1)
        found = _not_negative(columns, (score - means)[observed], 1.0 / len(held_out))
        return cls(means=means, axis=axis, weights=found.reshape(2, len(held_out)))

    def apply(self, forecasts: Sequence[Floats]) -> Floats:
        """[n, K] from the members' forecasts."""
        parts = zip(self.weights.ravel(), self._parts(forecasts), strict=True)
        return np.asarray(self.means + sum(weight * part for weight, part in parts), dtype=np.float64)

    def _parts(self, forecasts: Sequence[Floats]) -> list[Floats]:
        """The members' common parts, then their own."""
        departures = [forecast - self.means for forecast in forecasts]
        common = [np.outer(departure @ self.axis, self.axis) for departure in departures]
        return common + [departure - part for departure, part in zip(departures, common, strict=True)]


def _not_negative(columns: Floats, target: Floats, usual: float) -> Floats:
    """Least squares with weights >= 0, drawn towards `usual`, by coordinate descent on the normal equations."""
    gram = columns.T @ columns
    pull = _PRIOR_SHARE * np.maximum(np.diag(gram), 1e-12)
    right = columns.T @ target + pull * usual
    gram = gram + np.diag(pull)
    weights = np.full(len(gram), usual)
    for _ in range(_STEPS):
        for place in range(len(gram)):
            rest = right[place] - gram[place] @ weights + gram[place, place] * weights[place]
            weights[place] = max(rest / gram[place, place], 0.0)
    return weights
