"""The parts of networks: the masked loss, Adam, and layer normalisation."""

from __future__ import annotations

import numpy as np
import pytest

from routers.numeric.feed_forward import FeedForward, Layer
from routers.numeric.network import Adam, masked_loss, sigmoid, standardise, start


def test_loss_is_the_cross_entropy_of_observed_cells() -> None:
    random = np.random.default_rng(0)
    logits, score = random.standard_normal((1, 6, 3)), random.random((6, 3))
    weight = (random.random((1, 6, 3)) > 0.4).astype(np.float64)
    chance = sigmoid(logits[0])
    cells = -score * np.log(chance) - (1 - score) * np.log(1 - chance)
    loss, _ = masked_loss(logits, score, weight)
    assert loss[0] == pytest.approx(cells[weight[0] > 0].mean())


def test_missing_cell_moves_neither_loss_nor_slope() -> None:
    logits, score = np.zeros((1, 2, 2)), np.array([[1.0, 0.0], [1.0, 0.0]])
    weight = np.array([[[1.0, 1.0], [1.0, 0.0]]])
    other = score.copy()
    other[1, 1] = 1.0
    for found, expected in zip(masked_loss(logits, other, weight), masked_loss(logits, score, weight), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert masked_loss(logits, score, weight)[1][0, 1, 1] == 0.0


def test_loss_of_extreme_logits_is_finite() -> None:
    loss, slope = masked_loss(np.array([[[1e4, -1e4]]]), np.array([[0.0, 1.0]]), np.ones((1, 1, 2)))
    assert loss[0] == pytest.approx(1e4)
    assert np.isfinite(slope).all()


def test_member_without_a_cell_loses_nothing() -> None:
    loss, slope = masked_loss(np.ones((1, 2, 2)), np.ones((2, 2)), np.zeros((1, 2, 2)))
    assert loss[0] == 0.0
    assert not slope.any()


def test_adam_finds_the_minimum_of_a_bowl() -> None:
    parameters = {"bowl_bias": np.array([[5.0, -3.0]], dtype=np.float32)}
    adam = Adam.of(parameters, rate=0.05, decay=np.zeros(1))
    for _ in range(500):
        adam.move(parameters, {"bowl_bias": 2 * (parameters["bowl_bias"] - np.float32(1.0))})
    np.testing.assert_allclose(parameters["bowl_bias"], 1.0, atol=0.02)


def test_decay_shrinks_matrices_of_its_member_and_no_bias() -> None:
    parameters = {"a_weights": np.ones((2, 3, 3), np.float32), "a_bias": np.ones((2, 3), np.float32)}
    still = {name: np.zeros_like(values) for name, values in parameters.items()}
    Adam.of(parameters, rate=0.1, decay=np.array([0.0, 2.0])).move(parameters, still)
    np.testing.assert_allclose(parameters["a_weights"][:, 0, 0], [1.0, 0.8])
    np.testing.assert_array_equal(parameters["a_bias"], 1.0)


def test_normalised_rows_have_mean_zero_and_spread_one() -> None:
    values = np.random.default_rng(0).normal(3.0, 7.0, (2, 5, 16))
    standard, _ = standardise(values, np.ones((2, 16)), np.zeros((2, 16)))
    np.testing.assert_allclose(standard.mean(axis=-1), 0.0, atol=1e-9)
    np.testing.assert_allclose(standard.std(axis=-1), 1.0, atol=1e-4)


def test_members_start_differently_and_by_their_seed() -> None:
    network = FeedForward(3, (Layer("hidden", 4), Layer("out", 2, bends=False)))
    first = start(network, 2, seed=1)
    assert (first["hidden_weights"][0] != first["hidden_weights"][1]).all()
    np.testing.assert_array_equal(first["hidden_weights"], start(network, 2, seed=1)["hidden_weights"])
    assert (first["hidden_weights"] != start(network, 2, seed=2)["hidden_weights"]).all()
