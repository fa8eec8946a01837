"""Penalised least squares over observed cells only, by scipy's conjugate gradients (extra `science`: training only).

The unknowns are W [D, r], in the features' own axes where their Gram matrix is diagonal, and the biases [K],
which are not penalised. Rows that observed the same candidates are one pattern. A table that is the union of a
few tables has few patterns; then each step works on the patterns' Gram matrices and never reads the rows again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from routers.base import Floats

# The residual to stop at, relative to the right-hand side: far below the differences that matter in cross-validation.
_TOLERANCE = 1e-4
_MOST_STEPS = 300


@dataclass(frozen=True, slots=True, eq=False)
class LinearSystem:
    """The linear map outcome = features @ weights + bias; weights [D, K], bias [K]."""

    weights: Floats
    bias: Floats

    def apply(self, features: Floats) -> Floats:
        return features @ self.weights + self.bias


@dataclass(frozen=True, slots=True, eq=False)
class Unknowns:
    """W [D, r] and biases [K]: a vector of the linear system, as its argument or its result."""

    weights: Floats
    bias: Floats

    def flat(self) -> Floats:
        """Return all unknowns as one vector [D * r + K]."""
        return np.concatenate([self.weights.ravel(), self.bias])

    @classmethod
    def of(cls, flat: Floats, shape: tuple[int, ...]) -> Unknowns:
        """Return the unknowns of a vector [D * r + K], given the shape [D, r] of the weights."""
        size = math.prod(shape)
        return cls(flat[:size].reshape(shape), flat[size:])


def solve_masked(
    features: Floats, outcomes: Floats, factors: Floats, ridges: Sequence[float], weights: Floats | None = None
) -> Iterator[LinearSystem]:
    """Yield one fit per ridge; each starts from the fit before it, so pass ridges from strong to weak.

    `weights` [n, K] say how much each cell counts, 0 where it is missing; by default all observed cells count the same.
    Raises ValueError where scipy is not installed.
    """
    counted = (~np.isnan(outcomes)).astype(np.float64) if weights is None else weights
    centre = features.mean(axis=0)
    centred = features - centre
    energies, axes = np.linalg.eigh(centred.T @ centred)
    system = _System.build(centred @ axes, counted, factors)
    cells = np.where(counted > 0, outcomes, 0.0) * counted
    right = system.pull(cells)
    counts = counted.sum(axis=0)
    counts[counts == 0] = 1.0
    found = Unknowns(np.zeros((len(energies), factors.shape[1])), cells.sum(axis=0) / counts)
    strength = (factors**2).sum(axis=0) * float(counted.mean())
    for ridge in ridges:
        diagonal = Unknowns(np.maximum(energies, 0.0)[:, None] * strength + ridge, counts)
        found = _conjugate_gradients(system, ridge, (right, diagonal), found)
        weights = axes @ found.weights @ factors.T
        yield LinearSystem(weights=weights, bias=found.bias - centre @ weights)


def _conjugate_gradients(system: _System, ridge: float, given: tuple[Unknowns, Unknowns], start: Unknowns) -> Unknowns:
    """Solve the system, scaled by its diagonal on both sides, so that it stops by the preconditioned residual.

    Raises ValueError where scipy is not installed.
    """
    try:
        linalg = import_module("scipy.sparse.linalg")
    except ImportError as error:
        raise ValueError("a table with gaps needs scipy to learn from: pip install 'loupe-gateway[science]'") from error
    right, diagonal = given
    shape, scale = right.weights.shape, 1.0 / np.sqrt(diagonal.flat())

    def applied(scaled: Floats) -> Floats:
        return scale * system.apply(Unknowns.of(scale * scaled, shape), ridge).flat()

    operator = linalg.LinearOperator((len(scale), len(scale)), matvec=applied, dtype=np.float64)
    scaled, _ = linalg.cg(operator, scale * right.flat(), start.flat() / scale, rtol=_TOLERANCE, maxiter=_MOST_STEPS)
    return Unknowns.of(scale * scaled, shape)


@dataclass(frozen=True, slots=True, eq=False)
class _Pattern:
    """The sums of rows that observed the same candidates with the same weights.

    Attributes:
        gram: [D, D] the Gram matrix of the rows' features.
        sums: [D] the sum of the rows' features.
        count: the number of rows.
        seen: [K] the candidates' weights, 0 where a candidate was not observed.
        coupling: [r, r] the Gram matrix of the factors under these weights.
    """

    gram: Floats
    sums: Floats
    count: int
    seen: Floats
    coupling: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _System:
    """The operator of the normal equations. `patterns` is None where patterns are too many to save work."""

    rotated: Floats
    weights: Floats
    factors: Floats
    patterns: tuple[_Pattern, ...] | None

    @classmethod
    def build(cls, rotated: Floats, weights: Floats, factors: Floats) -> _System:
        distinct, place = np.unique(weights, axis=0, return_inverse=True)
        patterns = None
        if len(distinct) * rotated.shape[1] < 2 * len(rotated):  # else the rows themselves are less work
            patterns = tuple(_summed(rotated[place == number], seen, factors) for number, seen in enumerate(distinct))
        return cls(rotated, weights, factors, patterns)

    def pull(self, cells: Floats) -> Unknowns:
        """Apply the adjoint: return unknowns from weighted cells [n, K], 0 where missing."""
        return Unknowns(self.rotated.T @ (cells @ self.factors), cells.sum(axis=0))

    def apply(self, at: Unknowns, ridge: float) -> Unknowns:
        if self.patterns is None:
            fitted = self.rotated @ at.weights @ self.factors.T + at.bias
            pulled = self.pull(self.weights * fitted)
            return Unknowns(pulled.weights + ridge * at.weights, pulled.bias)
        weights, bias = ridge * at.weights, np.zeros_like(at.bias)
        for pattern in self.patterns:
            shown = at.bias * pattern.seen
            weights += pattern.gram @ (at.weights @ pattern.coupling)
            weights += np.outer(pattern.sums, shown @ self.factors)
            bias += pattern.seen * (self.factors @ (at.weights.T @ pattern.sums)) + pattern.count * shown
        return Unknowns(weights, bias)


def _summed(rows: Floats, seen: Floats, factors: Floats) -> _Pattern:
    return _Pattern(
        gram=rows.T @ rows,
        sums=rows.sum(axis=0),
        count=len(rows),
        seen=seen,
        coupling=(factors * seen[:, None]).T @ factors,
    )
