"""The feed-forward network: its gradients, and what bends."""

from __future__ import annotations

import numpy as np

from routers.numeric.feed_forward import FeedForward, Layer
from routers.numeric.network import start
from tests.checks.network_checks import OUTPUTS, check_gradients_are_finite_differences


def test_gradients_are_finite_differences() -> None:
    layers = (Layer("hidden", 6), Layer("latent", 3, bends=False), Layer("out", OUTPUTS, bends=False))
    check_gradients_are_finite_differences(FeedForward(8, layers), (3, 5))


def test_network_without_bends_is_one_matrix() -> None:
    network = FeedForward(3, (Layer("latent", 2, bends=False), Layer("out", 4, bends=False)))
    parameters = start(network, 1, seed=0)
    rows = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    logits, _ = network.forward(parameters, (rows,))
    expected = rows @ parameters["latent_weights"][0] @ parameters["out_weights"][0]
    np.testing.assert_allclose(logits[0], expected, atol=1e-5)


def test_bent_layer_passes_nothing_below_zero() -> None:
    network = FeedForward(1, (Layer("hidden", 1), Layer("out", 1, bends=False)))
    parameters = {name: np.abs(values) + 1 for name, values in start(network, 1, seed=0).items()}
    logits, _ = network.forward(parameters, (np.array([[-9.0], [-8.0], [1.0]], dtype=np.float32),))
    assert logits[0, 0, 0] == logits[0, 1, 0] == parameters["out_bias"][0, 0]
    assert logits[0, 2, 0] > logits[0, 0, 0]
