"""Attention between views: its gradients, and that one view is heard by the others."""

from __future__ import annotations

import numpy as np
import pytest

from routers.numeric.attention import Attention
from routers.numeric.network import start
from tests.checks.network_checks import OUTPUTS, check_gradients_are_finite_differences


@pytest.mark.parametrize("widths", [(3, 5, 2), (4, 4), (6,)])
def test_gradients_are_finite_differences(widths: tuple[int, ...]) -> None:
    check_gradients_are_finite_differences(Attention(widths, OUTPUTS, width=8, heads=2, inner=6), widths)


def test_views_are_heard_by_each_other_and_not_only_added() -> None:
    random = np.random.default_rng(0)
    network = Attention((4, 4), 3)
    parameters = start(network, 1, seed=0)
    text, image, other = (random.standard_normal((6, 4)).astype(np.float32) for _ in range(3))

    def asked(*inputs: np.ndarray) -> np.ndarray:
        return network.forward(parameters, inputs)[0][0]

    plain = asked(text, image)
    moved_by_image = asked(text, other) - plain
    with_other_text = asked(other, other) - asked(other, image)
    assert np.abs(moved_by_image - with_other_text).max() > 0.1


def test_view_of_no_width_is_a_token_that_is_always_the_same() -> None:
    network = Attention((4, 0), 3)
    rows = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    logits, _ = network.forward(start(network, 2, seed=0), (rows, np.zeros((6, 0), np.float32)))
    assert logits.shape == (2, 6, 3)
    assert np.isfinite(logits).all()
