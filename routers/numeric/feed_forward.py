"""A feed-forward network: a sequence of linear layers, each optionally followed by a rectifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from routers.numeric.network import Array, Parameters, Tokens, linear, linear_slopes

Trace = list[Array]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: its output width, and whether a rectifier follows (`bends`)."""

    name: str
    width: int
    bends: bool = True


@dataclass(frozen=True, slots=True)
class FeedForward:
    """A network on concatenated views; implements `routers.numeric.network.Network`.

    The last of `layers` has K outputs and no rectifier.
    """

    inputs: int
    layers: tuple[Layer, ...]

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        width = self.inputs
        for layer in self.layers:
            found |= {f"{layer.name}_weights": (width, layer.width), f"{layer.name}_bias": (layer.width,)}
            width = layer.width
        return found

    def forward(self, parameters: Parameters, inputs: Tokens) -> tuple[Array, Trace]:
        """Return (logits [members, n, K], each layer's inputs)."""
        values, trace = np.concatenate(inputs, axis=1)[None], []
        for layer in self.layers:
            trace.append(values)
            values = linear(values, parameters[f"{layer.name}_weights"], parameters[f"{layer.name}_bias"])
            if layer.bends:
                values = np.maximum(values, 0)
        return values, trace

    def backward(self, parameters: Parameters, trace: Trace, slope: Array) -> Parameters:
        gradients: Parameters = {}
        for place in reversed(range(len(self.layers))):
            name = self.layers[place].name
            gradients[f"{name}_weights"], gradients[f"{name}_bias"] = linear_slopes(trace[place], slope)
            if place:
                slope = slope @ np.swapaxes(parameters[f"{name}_weights"], 1, 2)
                if self.layers[place - 1].bends:
                    slope = slope * (trace[place] > 0)
        return gradients
