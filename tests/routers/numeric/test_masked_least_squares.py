"""Masked least squares: the solution is that of the normal equations, whether rows are summed up by pattern or not."""

from __future__ import annotations

import numpy as np
import pytest

from routers.base import Floats
from routers.numeric.masked_least_squares import LinearSystem, solve_masked

ROWS, FEATURES, CANDIDATES, RANK = 60, 5, 6, 3
RIDGES = (8.0, 0.5)


def drawn(patterns: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Features, outcomes with gaps, factors and weights of the cells; `patterns` different rows of weights."""
    random = np.random.default_rng(patterns)
    features = random.standard_normal((ROWS, FEATURES)) + 3.0
    factors = random.standard_normal((CANDIDATES, RANK))
    outcomes = random.standard_normal((ROWS, CANDIDATES))
    weights = (random.integers(0, 3, (patterns, CANDIDATES)) / 2)[np.arange(ROWS) % patterns]
    return features, np.where(weights > 0, outcomes, np.nan), factors, weights


def solved_directly(features: Floats, outcomes: Floats, factors: Floats, weights: Floats, ridge: float) -> LinearSystem:
    """By one dense solve over every unknown, written down cell by cell."""
    centre = features.mean(axis=0)
    rows, columns = np.nonzero(weights)
    design = np.zeros((len(rows), FEATURES * RANK + CANDIDATES))
    for place, (row, column) in enumerate(zip(rows, columns, strict=True)):
        design[place, : FEATURES * RANK] = np.outer(features[row] - centre, factors[column]).ravel()
        design[place, FEATURES * RANK + column] = 1.0
    counted = design * weights[rows, columns][:, None]
    penalty = np.diag([ridge] * (FEATURES * RANK) + [0.0] * CANDIDATES)
    found = np.linalg.solve(counted.T @ design + penalty, counted.T @ outcomes[rows, columns])
    mapped = found[: FEATURES * RANK].reshape(FEATURES, RANK) @ factors.T
    return LinearSystem(weights=mapped, bias=found[FEATURES * RANK :] - centre @ mapped)


@pytest.mark.parametrize("patterns", [4, ROWS])
def test_each_ridge_has_the_solution_of_the_normal_equations(patterns: int) -> None:
    features, outcomes, factors, weights = drawn(patterns)
    for ridge, found in zip(RIDGES, solve_masked(features, outcomes, factors, RIDGES, weights), strict=True):
        wanted = solved_directly(features, outcomes, factors, weights, ridge)
        np.testing.assert_allclose(found.apply(features), wanted.apply(features), atol=2e-3)


def test_a_missing_cell_weighs_nothing_and_others_one_unless_told() -> None:
    features, outcomes, factors, _ = drawn(4)
    seen = (~np.isnan(outcomes)).astype(np.float64)
    (plain,) = solve_masked(features, outcomes, factors, [1.0])
    (told,) = solve_masked(features, np.where(seen > 0, outcomes, 99.0), factors, [1.0], seen)
    np.testing.assert_array_equal(told.weights, plain.weights)
