"""Blending of forecasts: a weight for each member, one for how hard a query is and one for differences of candidates.

How hard a query is for all candidates alike is easy to learn. Which candidate is better on a query is what routing
depends on, and is mostly noise where data are few. So each member's departure from the means is split along the
candidates' first common factor (Breiman and Friedman, "Predicting Multivariate Responses in Multiple Linear
Regression", JRSS B 59, 1997), and both parts have their own weights, by the members' errors on held-out groups.

A member gets no weight for a lead that other groups could have reversed: leads are averaged over Bayesian bootstraps
of the groups (Yao et al., "Using Stacking to Average Bayesian Predictive Distributions", Bayesian Analysis 13, 2018:
pseudo-BMA+). With a few dozen groups, all members share the weight; with hundreds of groups, the best members do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats
from routers.forecasting.sharpness import sharpened, sharpness
from routers.numeric.factors import candidate_factors
from routers.table.split import numbered
from routers.table.summary import column_means

# If a member explains this share of the scores' variance less than the best member does, its weight is divided by e.
_LEAD = 0.006
_BOOTSTRAPS = 200


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """The held-out forecasts and scores that a blend learns from.

    Attributes:
        forecasts: the members' [n, K] forecasts of rows whose groups they did not see.
        means: [n, K] the candidates' means in the rows that taught each row's forecasts. Departures are measured from
            these means, because the mean of all rows contains the row's own outcome and would make every member look
            worse than it is.
        score: [n, K] observed scores, NaN where missing.
        groups: [n].
        weights: [n, K] how much each cell counts; None: all count the same.
    """

    forecasts: Sequence[Floats]
    means: Floats
    score: Floats
    groups: Sequence[str]
    weights: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """A weighted sum of the members' departures from the means.

    Attributes:
        means: [K] the candidates' mean scores.
        axis: [K] the candidates' common factor, of length 1.
        weights: [2, members] the weights of the common parts, and of the candidates' own parts; each row sums to 1.
        sharpness: the factor that stretches departures in logits, because an average of forecasts departs too little.
    """

    means: Floats
    axis: Floats
    weights: Floats
    sharpness: float

    @classmethod
    def fit(cls, held_out: HeldOut, common: Sequence[int] | None = None, *, trusted: int | None = None) -> Blend:
        """Learn the weights and the sharpness.

        `common` are the members whose common part may count (default: all); member `trusted` has at least half of the
        weight of the common part.
        """
        axis = candidate_factors(held_out.score, rank=1)[:, 0]
        count = len(held_out.forecasts)
        means = column_means(held_out.score, held_out.weights)
        bare = cls(means, axis / np.linalg.norm(axis), np.zeros((2, count)), 1.0)
        parts = bare._parts(held_out.forecasts, held_out.means)
        chosen = range(count) if common is None else common
        weights = np.zeros((2, count))
        weights[0, list(chosen)] = _shares([parts[member] for member in chosen], held_out)
        weights[1] = _shares(parts[count:], held_out)
        if trusted is not None:
            weights[0] /= 2
            weights[0, trusted] += 0.5
        blunt = cls(bare.means, bare.axis, weights, 1.0)
        said = blunt.apply(held_out.forecasts, held_out.means)
        return cls(bare.means, bare.axis, weights, sharpness(said, held_out.means, held_out.score, held_out.groups))

    def apply(self, forecasts: Sequence[Floats], means: Floats | None = None) -> Floats:
        """Return the blend [n, K] of the members' forecasts, between 0 and 1; `means` [n, K] replace the blend's."""
        means = self.means if means is None else means
        parts = zip(self.weights.ravel(), self._parts(forecasts, means), strict=True)
        said = means + sum(weight * part for weight, part in parts if weight)
        return sharpened(said, means, self.sharpness)

    def _parts(self, forecasts: Sequence[Floats], means: Floats) -> list[Floats]:
        """Return the members' common parts, then the members' own parts."""
        departures = [forecast - means for forecast in forecasts]
        common = [np.outer(departure @ self.axis, self.axis) for departure in departures]
        return common + [departure - part for departure, part in zip(departures, common, strict=True)]


def _shares(parts: Sequence[Floats], held_out: HeldOut) -> Floats:
    """Return [members] weights that sum to 1, larger for parts that explain more by themselves, over bootstraps."""
    names, group_of_row = numbered(held_out.groups)
    target = held_out.score - held_out.means
    observed = ~np.isnan(target)
    # Every row counts the same, from tables of many candidates and of few, because the router routes queries.
    cells = np.maximum(observed.sum(axis=1), 1)
    counted = observed.astype(np.float64) if held_out.weights is None else held_out.weights

    def of_groups(squares: Floats) -> Floats:
        per_row = (counted * np.where(observed, squares, 0.0)).sum(axis=1) / cells
        return np.asarray(np.bincount(group_of_row, per_row, minlength=len(names)), dtype=np.float64)

    errors = np.stack([of_groups((part - target) ** 2) for part in parts], axis=1)
    drawn: NDArray[np.float64] = np.random.default_rng(0).dirichlet(np.ones(len(names)), _BOOTSTRAPS)
    drawn_errors = drawn @ errors
    behind = drawn_errors - drawn_errors.min(axis=1, keepdims=True)
    behind /= np.maximum(drawn @ of_groups(target**2), 1e-12)[:, None]
    shares = np.exp(-behind / _LEAD)
    return np.asarray((shares / shares.sum(axis=1, keepdims=True)).mean(axis=0), dtype=np.float64)
