"""Masked factor regression: many candidates' outcomes on shared features, from observed cells only.

Model: outcome[i, k] = bias[k] + features[i] @ W @ factors[k], with W ~ N(0, I). The candidate factors are a root
of the candidates' covariance, so what one candidate shows moves its likes: the multi-task Gaussian prior of
Bonilla et al., "Multi-task Gaussian Process Prediction" (NeurIPS 2007), in the low-rank form of LinearMF. The
factors are a prior: a candidate that was never seen on some kind of query is carried there by its likes, and
shrunk to its own mean in the directions where they say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats

Mask = NDArray[np.bool_]

# Conjugate gradients stop at this residual, relative to the first: far below what cross-validation can see.
_TOLERANCE = 1e-4
_MOST_STEPS = 300
# Share of the covariance's diagonal added to it, so that no direction between candidates is ruled out.
_FLOOR = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """outcome = features @ weights + bias; weights [D, K], bias [K]."""

    weights: Floats
    bias: Floats

    def apply(self, features: Floats) -> Floats:
        return features @ self.weights + self.bias


def candidate_factors(outcomes: Floats, rank: int) -> Floats:
    """[K, rank] root of the candidates' covariance (mean variance 1), from cells that pairs share.

    A pair that shares no row gets the correlation that one common factor explains.
    """
    observed = ~np.isnan(outcomes)
    correlation = _pairwise_correlation(outcomes, observed)
    correlation = _explain_missing(correlation)
    correlation += _FLOOR * np.eye(len(correlation))
    values, vectors = np.linalg.eigh(correlation)
    values, vectors = np.maximum(values[::-1][:rank], 0.0), vectors[:, ::-1][:, :rank]
    values *= len(correlation) / max(values.sum(), 1e-12)
    return np.asarray(vectors * np.sqrt(values), dtype=np.float64)


def solve(features: Floats, outcomes: Floats, factors: Floats, ridges: Sequence[float]) -> Iterator[Linear]:
    """The penalised least-squares fit for each ridge. `outcomes` is [n, K], NaN where missing."""
    observed = ~np.isnan(outcomes)
    if observed.all():
        yield from _solve_complete(features, outcomes, factors, ridges)
    else:
        yield from _solve_masked(features, outcomes, factors, ridges)


def _pairwise_correlation(outcomes: Floats, observed: Mask) -> Floats:
    weight = observed.astype(np.float64)
    filled = np.where(observed, outcomes, 0.0)
    counts = weight.T @ weight
    shared = np.maximum(counts, 1.0)
    mean = filled.T @ weight / shared  # [k, l]: mean of k over the rows that l shares
    covariance = filled.T @ filled / shared - mean * mean.T
    variance = (filled**2).T @ weight / shared - mean**2
    scale = np.sqrt(np.maximum(variance * variance.T, 1e-12))
    correlation = np.where(counts > 1, np.clip(covariance / scale, -1.0, 1.0), np.nan)
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(correlation, dtype=np.float64)


def _explain_missing(correlation: Floats) -> Floats:
    known = ~np.isnan(correlation)
    if known.all():
        return correlation
    filled = np.where(known, correlation, np.nanmean(correlation))
    for _ in range(50):
        values, vectors = np.linalg.eigh(filled)
        common = values[-1] * np.outer(vectors[:, -1], vectors[:, -1])
        filled = np.where(known, correlation, np.clip(common, -1.0, 1.0))
    return np.asarray(filled, dtype=np.float64)


def _solve_complete(features: Floats, outcomes: Floats, factors: Floats, ridges: Sequence[float]) -> Iterator[Linear]:
    """Rotated to the covariance's own axes, candidates part into independent ridge regressions."""
    centre, bias = features.mean(axis=0), outcomes.mean(axis=0)
    centred = features - centre
    energies, axes = np.linalg.eigh(centred.T @ centred)
    spread, turned = np.linalg.eigh(factors @ factors.T)
    spread = np.maximum(spread, 1e-9)
    target = axes.T @ (centred.T @ ((outcomes - bias) @ turned))
    for ridge in ridges:
        weights = axes @ (target / (np.maximum(energies, 0.0)[:, None] + ridge / spread)) @ turned.T
        yield Linear(weights=weights, bias=bias - centre @ weights)


def _solve_masked(features: Floats, outcomes: Floats, factors: Floats, ridges: Sequence[float]) -> Iterator[Linear]:
    """Preconditioned conjugate gradients on the normal equations of the observed cells.

    The unknowns are W [D, r], in the features' own axes where the Gram matrix is diagonal, and the biases [K],
    which are kept apart because they are not penalised. Each ridge starts from the one before.
    """
    observed = ~np.isnan(outcomes)
    centre = features.mean(axis=0)
    centred = features - centre
    energies, axes = np.linalg.eigh(centred.T @ centred)
    rotated = centred @ axes
    counts = np.maximum(observed.sum(axis=0), 1).astype(np.float64)
    share = float(observed.mean())
    system = _System(rotated, observed, factors)
    bias = np.where(observed, outcomes, 0.0).sum(axis=0) / counts
    start = np.zeros((rotated.shape[1], factors.shape[1]))
    cells = np.where(observed, outcomes, 0.0)
    strength = (factors**2).sum(axis=0)
    for ridge in ridges:
        damping = np.maximum(energies, 0.0)[:, None] * share * strength + ridge
        start, bias = system.solve(cells, ridge, (damping, counts), (start, bias))
        weights = axes @ start @ factors.T
        yield Linear(weights=weights, bias=bias - centre @ weights)


@dataclass(frozen=True, slots=True, eq=False)
class _System:
    """The normal equations' operator: features [n, D], observed cells [n, K], factors [K, r]."""

    rotated: Floats
    observed: Mask
    factors: Floats

    def solve(
        self,
        outcomes: Floats,
        ridge: float,
        preconditioner: tuple[Floats, Floats],
        start: tuple[Floats, Floats],
    ) -> tuple[Floats, Floats]:
        """(W, bias) by conjugate gradients from `start`."""
        damping, counts = preconditioner
        solution, bias = start[0].copy(), start[1].copy()
        right, right_bias = self._adjoint(outcomes)
        first, first_bias = self._normal(solution, bias, ridge)
        rest, rest_bias = right - first, right_bias - first_bias
        goal = _TOLERANCE**2 * (float((right**2 / damping).sum()) + float((right_bias**2 / counts).sum()))
        step, step_bias = rest / damping, rest_bias / counts
        size = float((rest * step).sum() + (rest_bias * step_bias).sum())
        for _ in range(_MOST_STEPS):
            if size <= goal:
                break
            moved, moved_bias = self._normal(step, step_bias, ridge)
            length = size / float((step * moved).sum() + (step_bias * moved_bias).sum())
            solution += length * step
            bias += length * step_bias
            rest -= length * moved
            rest_bias -= length * moved_bias
            scaled, scaled_bias = rest / damping, rest_bias / counts
            before, size = size, float((rest * scaled).sum() + (rest_bias * scaled_bias).sum())
            step = scaled + size / before * step
            step_bias = scaled_bias + size / before * step_bias
        return solution, bias

    def _normal(self, weights: Floats, bias: Floats, ridge: float) -> tuple[Floats, Floats]:
        predicted = np.where(self.observed, self.rotated @ weights @ self.factors.T + bias, 0.0)
        pulled, pulled_bias = self._adjoint(predicted)
        return pulled + ridge * weights, pulled_bias

    def _adjoint(self, cells: Floats) -> tuple[Floats, Floats]:
        return self.rotated.T @ (cells @ self.factors), cells.sum(axis=0)
