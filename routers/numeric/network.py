"""Small networks in plain numpy: layers with their gradients, and Adam on a masked loss.

Rule: every parameter and activation has a leading axis of members, so that several networks of one architecture are
trained and used in one batched product. A missing cell has weight 0 in the loss and in its gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Parameters = dict[str, Array]
"""Name -> [members, ...]. Arrays of three axes are weight matrices, which decay; arrays of two are biases and gains."""

Tokens = tuple[Array, ...]
"""Inputs: one array [n, width] per view."""


class Network(Protocol):
    """A network architecture, which knows the shapes of parameters but holds no parameters."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Parameter name -> its shape, without the axis of members."""
        ...

    def forward(self, parameters: Parameters, inputs: Tokens) -> tuple[Array, Any]:
        """Return (logits [members, n, K], the values that `backward` needs)."""
        ...

    def backward(self, parameters: Parameters, trace: Any, slope: Array) -> Parameters:
        """Return the gradient of each parameter, from the gradient of the loss by the logits [members, n, K]."""
        ...


def start(network: Network, members: int, seed: int) -> Parameters:
    """Return starting parameters in float32, different for each member.

    Matrices have He's initialisation ("Delving Deep into Rectifiers", ICCV 2015); biases are 0, gains (`*_gain`) 1.
    """
    random = np.random.default_rng(seed)
    parameters: Parameters = {}
    for name, shape in network.shapes.items():
        if len(shape) == 1:
            drawn = np.full((members, *shape), float(name.endswith("_gain")))
        else:
            drawn = random.standard_normal((members, *shape)) * np.sqrt(2.0 / max(shape[0], 1))
        parameters[name] = drawn.astype(np.float32)
    return parameters


def masked_loss(logits: Array, score: Array, weight: Array) -> tuple[Array, Array]:
    """Return (cross-entropy of each member [members], its gradient by the logits [members, n, K]), over weighted cells.

    `score` is [n, K] from 0 to 1, and any number where `weight` [members or 1, n, K] is 0. A member whose cells all
    have weight 0 has a loss of 0.
    """
    total = np.maximum(weight.sum(axis=(1, 2), keepdims=True), 1e-12)
    share = weight / total
    # log(1 + exp(x)) - y x, in the form that cannot overflow
    cells = np.maximum(logits, 0) - score * logits + np.log1p(np.exp(-np.abs(logits)))
    loss = (share * cells).sum(axis=(1, 2))
    return loss, (share * (sigmoid(logits) - score)).astype(logits.dtype, copy=False)


def sigmoid(logits: Array) -> Array:
    """Return the logistic function, without overflow."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits))


@dataclass(slots=True)
class Adam:
    """The state of AdamW (Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019).

    Attributes:
        rate: the learning rate.
        decay: [members] the weight decay, of matrices only.
        first, second: the moments.
        steps: the number of steps made.
    """

    rate: float
    decay: Array
    first: Parameters
    second: Parameters
    steps: int = 0

    @classmethod
    def of(cls, parameters: Parameters, rate: float, decay: Array) -> Adam:
        zeros = {name: np.zeros_like(values) for name, values in parameters.items()}
        return cls(rate, decay, zeros, {name: values.copy() for name, values in zeros.items()})

    def move(self, parameters: Parameters, gradients: Parameters) -> None:
        """Make one step; changes the parameters in place."""
        self.steps += 1
        rate = self.rate * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        for name, values in parameters.items():
            gradient, first, second = gradients[name], self.first[name], self.second[name]
            first += np.float32(0.1) * (gradient - first)
            second += np.float32(0.001) * (gradient * gradient - second)
            if values.ndim > 2:
                values *= (1 - self.rate * self.decay[:, None, None]).astype(values.dtype)
            values -= np.float32(rate) * first / (np.sqrt(second) + np.float32(1e-8))


def linear(inputs: Array, weights: Array, bias: Array) -> Array:
    """Return outputs [members, n, out] of inputs [members or 1, n, in]."""
    return np.asarray(inputs @ weights + bias[:, None, :])


def linear_slopes(inputs: Array, slope: Array) -> tuple[Array, Array]:
    """Return the gradients (by weights, by bias) of `linear`."""
    return np.swapaxes(inputs, 1, 2) @ slope, slope.sum(axis=1)


def standardise(values: Array, gain: Array, shift: Array) -> tuple[Array, tuple[Array, Array]]:
    """Return layer normalisation (Ba et al., arXiv 1607.06450) over the last axis, and the values its gradients need.

    `values` is [members, n, width], `gain` and `shift` [members, width].
    """
    centred = values - values.mean(axis=-1, keepdims=True)
    scale = 1.0 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5)
    standard = centred * scale
    return standard * gain[:, None, :] + shift[:, None, :], (standard, scale)


def standardise_slopes(trace: tuple[Array, Array], gain: Array, slope: Array) -> tuple[Array, Array, Array]:
    """Return the gradients (by values, by gain, by shift) of `standardise`."""
    standard, scale = trace
    inner = slope * gain[:, None, :]
    along = (inner * standard).mean(axis=-1, keepdims=True)
    by_values = scale * (inner - inner.mean(axis=-1, keepdims=True) - standard * along)
    return by_values, (slope * standard).sum(axis=1), slope.sum(axis=1)
