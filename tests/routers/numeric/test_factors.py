"""Masked factor regression against the normal equations written out, and its prior."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from routers.numeric.factors import candidate_factors, solve
from routers.numeric.masked_least_squares import LinearSystem

Array = NDArray[np.float64]


def drawn(rows: int, seed: int = 0) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    features = random.standard_normal((rows, 5)) + 0.5
    outcomes = features @ random.standard_normal((5, 3)) + random.standard_normal((rows, 3)) + [1.0, 2.0, 3.0]
    return features, outcomes


def exact(features: Array, outcomes: Array, factors: Array, ridge: float) -> LinearSystem:
    """The penalised fit by one dense solve over vec(W) and the biases."""
    rows, width = outcomes.shape
    rank, dimension = factors.shape[1], features.shape[1]
    cells = [
        (row, column)
        for row in range(rows)
        for column in range(width)
        if outcomes[row, column] == outcomes[row, column]
    ]
    design = np.zeros((len(cells), dimension * rank + width))
    for place, (row, column) in enumerate(cells):
        design[place, : dimension * rank] = np.outer(features[row], factors[column]).ravel()
        design[place, dimension * rank + column] = 1
    penalty = np.diag([ridge] * (dimension * rank) + [0.0] * width)
    truth = np.array([outcomes[cell] for cell in cells])
    solved = np.linalg.solve(design.T @ design + penalty, design.T @ truth)
    weights = solved[: dimension * rank].reshape(dimension, rank) @ factors.T
    return LinearSystem(weights, solved[dimension * rank :])


@pytest.mark.parametrize("pattern", ["complete", "structured", "scattered"])
def test_fit_equals_the_dense_solution(pattern: str) -> None:
    features, outcomes = drawn(60)
    if pattern == "structured":
        outcomes[:30, 0] = np.nan
        outcomes[30:, 2] = np.nan
    if pattern == "scattered":
        outcomes[np.random.default_rng(3).random(outcomes.shape) < 0.4] = np.nan
    factors = candidate_factors(outcomes, 3)
    for ridge, found in zip((50.0, 2.0), solve(features, outcomes, factors, (50.0, 2.0)), strict=True):
        expected = exact(features, outcomes, factors, ridge)
        np.testing.assert_allclose(found.apply(features), expected.apply(features), atol=2e-3)


def test_factors_are_a_root_of_the_correlation() -> None:
    _, outcomes = drawn(4000)
    factors = candidate_factors(outcomes, 3)
    covariance = factors @ factors.T
    expected = np.corrcoef(outcomes.T) + 0.05 * np.eye(3)
    np.testing.assert_allclose(covariance, expected / np.trace(expected) * 3, atol=1e-6)


def test_rank_limits_the_factors() -> None:
    _, outcomes = drawn(100)
    assert candidate_factors(outcomes, 2).shape == (3, 2)
    assert candidate_factors(outcomes, 16).shape == (3, 3)


def test_pair_that_shares_no_row_is_tied_through_the_others() -> None:
    random = np.random.default_rng(0)
    common = random.standard_normal((400, 1))
    outcomes = common + 0.5 * random.standard_normal((400, 4))
    outcomes[:200, 0] = np.nan
    outcomes[200:, 3] = np.nan
    covariance = (lambda factors: factors @ factors.T)(candidate_factors(outcomes, 4))
    assert 0.5 < covariance[0, 3] / np.sqrt(covariance[0, 0] * covariance[3, 3]) < 0.95


def test_candidate_follows_its_likes_where_it_was_never_seen() -> None:
    random = np.random.default_rng(0)
    kind = np.repeat([0.0, 1.0], 200)  # the second kind of query is easier for all
    features = np.column_stack([kind, random.standard_normal(400)])
    outcomes = 0.3 + 0.4 * kind[:, None] + 0.1 * features[:, 1:] + 0.1 * random.standard_normal((400, 4))
    outcomes[200:, 0] = np.nan
    (fit,) = solve(features, outcomes, candidate_factors(outcomes, 4), [5.0])
    easier = fit.apply(features)[200:, 0].mean()
    assert 0.45 < easier < 0.75  # 0.3 without its likes, 0.7 in truth
