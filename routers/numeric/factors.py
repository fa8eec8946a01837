"""Masked factor regression: many candidates' outcomes on shared features, from observed cells only.

Model: outcome[i, k] = bias[k] + features[i] @ W @ factors[k], with W ~ N(0, I). The candidate factors are a root
of the candidates' covariance, so the outcomes of one candidate change the forecasts of similar candidates: the
multi-task Gaussian prior of Bonilla et al., "Multi-task Gaussian Process Prediction" (NeurIPS 2007), in the low-rank
form of LinearMF. The factors are a prior: on a kind of query where a candidate was never observed, its forecast
follows similar candidates, and shrinks to the candidate's own mean in directions where similar candidates tell nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats
from routers.numeric.masked_least_squares import LinearSystem, solve_masked

Mask = NDArray[np.bool_]

# The share of the covariance's diagonal that is added to it, so that no direction between candidates is excluded.
_FLOOR = 0.05


def candidate_factors(outcomes: Floats, rank: int) -> Floats:
    """Return [K, rank] a root of the candidates' covariance (mean variance 1), from rows that pairs share.

    A pair that does not share a row gets the correlation that one common factor explains.
    """
    observed = ~np.isnan(outcomes)
    correlation = _pairwise_correlation(outcomes, observed)
    correlation = _explain_missing(correlation)
    correlation += _FLOOR * np.eye(len(correlation))
    values, vectors = np.linalg.eigh(correlation)
    values, vectors = np.maximum(values[::-1][:rank], 0.0), vectors[:, ::-1][:, :rank]
    values *= len(correlation) / max(values.sum(), 1e-12)
    return np.asarray(vectors * np.sqrt(values), dtype=np.float64)


def solve(
    features: Floats, outcomes: Floats, factors: Floats, ridges: Sequence[float], weights: Floats | None = None
) -> Iterator[LinearSystem]:
    """Yield the penalised least-squares fit of each ridge.

    `outcomes` and `weights` are [n, K], NaN and 0 where missing.
    """
    if weights is None and not np.isnan(outcomes).any():
        yield from _solve_complete(features, outcomes, factors, ridges)
    else:
        yield from solve_masked(features, outcomes, factors, ridges, weights)


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


def _solve_complete(
    features: Floats, outcomes: Floats, factors: Floats, ridges: Sequence[float]
) -> Iterator[LinearSystem]:
    """Yield the fits of complete outcomes: along the covariance's own axes, they are independent ridge regressions."""
    centre, bias = features.mean(axis=0), outcomes.mean(axis=0)
    centred = features - centre
    energies, axes = np.linalg.eigh(centred.T @ centred)
    spread, turned = np.linalg.eigh(factors @ factors.T)
    spread = np.maximum(spread, 1e-9)
    target = axes.T @ (centred.T @ ((outcomes - bias) @ turned))
    for ridge in ridges:
        weights = axes @ (target / (np.maximum(energies, 0.0)[:, None] + ridge / spread)) @ turned.T
        yield LinearSystem(weights=weights, bias=bias - centre @ weights)
