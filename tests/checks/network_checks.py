"""A law that every network obeys: its gradients are those of the loss."""

from __future__ import annotations

import numpy as np

from routers.numeric.network import Network, Parameters, Tokens, masked_loss, start

MEMBERS, ROWS, OUTPUTS = 2, 7, 4
_STEP = 1e-5


def check_gradients_are_finite_differences(network: Network, widths: tuple[int, ...]) -> None:
    """In float64, at drawn parameters, on cells of which some are missing."""
    random = np.random.default_rng(0)
    inputs: Tokens = tuple(random.standard_normal((ROWS, width)) for width in widths)
    score = random.random((ROWS, OUTPUTS))
    weight = (random.random((MEMBERS, ROWS, OUTPUTS)) > 0.3).astype(np.float64)
    parameters: Parameters = {
        name: values + 0.3 * random.standard_normal(values.shape) for name, values in start(network, MEMBERS, 0).items()
    }

    def loss() -> float:
        return float(masked_loss(network.forward(parameters, inputs)[0], score, weight)[0].sum())

    logits, trace = network.forward(parameters, inputs)
    assert logits.shape == (MEMBERS, ROWS, OUTPUTS)
    gradients = network.backward(parameters, trace, masked_loss(logits, score, weight)[1])
    assert set(gradients) == set(parameters)
    for name, values in parameters.items():
        assert gradients[name].shape == values.shape
        for _ in range(5):
            place = tuple(int(random.integers(size)) for size in values.shape)
            kept = values[place]
            values[place] = kept + _STEP
            above = loss()
            values[place] = kept - _STEP
            below = loss()
            values[place] = kept
            np.testing.assert_allclose(gradients[name][place], (above - below) / (2 * _STEP), atol=1e-7, err_msg=name)
