"""A network with one block of attention between a query's views: each view is a token, and all tokens attend to all.

The block is that of Vaswani et al., "Attention Is All You Need" (NeurIPS 2017), normalised after each sum; a linear
layer reads the tokens' mean. Tokens are few, so attention is written out and not batched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from routers.numeric.network import Array, Parameters, Tokens, linear, linear_slopes, standardise, standardise_slopes

Standard = tuple[Array, Array]


@dataclass(frozen=True, slots=True, eq=False)
class _Trace:
    """The values that the backward pass needs, in forward order; rows are [members, n * views, width]."""

    inputs: Tokens
    tokens: Array
    turned: tuple[Array, Array, Array]
    shares: Array
    heard: Array
    first_out: Array
    first: Standard
    inner: Array
    second: Standard
    pooled: Array


@dataclass(frozen=True, slots=True)
class Attention:
    """An attention block on views; implements `routers.numeric.network.Network`.

    Attributes:
        inputs: the width of each view.
        outputs: K.
        width: the width of a token, a multiple of `heads`.
        inner: the width of the feed-forward part.
    """

    inputs: tuple[int, ...]
    outputs: int
    width: int = 32
    heads: int = 4
    inner: int = 64

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        width, found = self.width, dict[str, tuple[int, ...]]()
        for place, size in enumerate(self.inputs):
            found |= {f"view{place}_weights": (size, width), f"view{place}_bias": (width,)}
        for name in ("ask", "key", "value", "joined"):
            found |= {f"{name}_weights": (width, width), f"{name}_bias": (width,)}
        found |= {"first_gain": (width,), "first_shift": (width,), "second_gain": (width,), "second_shift": (width,)}
        found |= {"inner_weights": (width, self.inner), "inner_bias": (self.inner,)}
        found |= {"outer_weights": (self.inner, width), "outer_bias": (width,)}
        return found | {"out_weights": (width, self.outputs), "out_bias": (self.outputs,)}

    def forward(self, parameters: Parameters, inputs: Tokens) -> tuple[Array, _Trace]:
        """Return (logits [members, n, K], the values of every step)."""
        views = [
            linear(part[None], parameters[f"view{place}_weights"], parameters[f"view{place}_bias"])
            for place, part in enumerate(inputs)
        ]
        tokens = self._flat(np.stack(views, axis=2))
        ask, key, value = (self._split(self._apply(parameters, name, tokens)) for name in ("ask", "key", "value"))
        shares = _softmax(np.einsum("mnshd,mnthd->mnhst", ask, key) / np.sqrt(ask.shape[-1], dtype=ask.dtype))
        heard = self._flat(np.einsum("mnhst,mnthd->mnshd", shares, value))
        first, first_trace = _standardise(parameters, "first", tokens + self._apply(parameters, "joined", heard))
        inner = np.maximum(self._apply(parameters, "inner", first), 0)
        second, second_trace = _standardise(parameters, "second", first + self._apply(parameters, "outer", inner))
        pooled = second.reshape(len(second), -1, len(self.inputs), self.width).mean(axis=2)
        trace = _Trace(
            inputs, tokens, (ask, key, value), shares, heard, first, first_trace, inner, second_trace, pooled
        )
        return self._apply(parameters, "out", pooled), trace

    def backward(self, parameters: Parameters, trace: _Trace, slope: Array) -> Parameters:
        gradients: Parameters = {}
        pooled = self._back(parameters, gradients, "out", (trace.pooled, slope))
        second = np.repeat(pooled / len(self.inputs), len(self.inputs), axis=1).astype(slope.dtype, copy=False)
        second = _standardise_back((parameters, gradients), "second", trace.second, second)
        inner = self._back(parameters, gradients, "outer", (trace.inner, second)) * (trace.inner > 0)
        first = second + self._back(parameters, gradients, "inner", (trace.first_out, inner))
        first = _standardise_back((parameters, gradients), "first", trace.first, first)
        heard = self._split(self._back(parameters, gradients, "joined", (trace.heard, first)))
        tokens = first + self._attention_back(parameters, gradients, trace, heard)
        by_view = tokens.reshape(len(tokens), -1, len(self.inputs), self.width)
        for place, part in enumerate(trace.inputs):
            name = f"view{place}"
            gradients[f"{name}_weights"], gradients[f"{name}_bias"] = linear_slopes(part[None], by_view[:, :, place])
        return gradients

    def _attention_back(self, parameters: Parameters, gradients: Parameters, trace: _Trace, slope: Array) -> Array:
        """Return the gradient by the tokens, given the gradient `slope` by the output of attention.

        `slope` is [members, n, views, heads, width / heads].
        """
        ask, key, value = trace.turned
        shares = trace.shares
        by_shares = np.einsum("mnshd,mnthd->mnhst", slope, value)
        by_logits = shares * (by_shares - (by_shares * shares).sum(axis=-1, keepdims=True))
        by_logits = by_logits / np.sqrt(ask.shape[-1], dtype=ask.dtype)
        by_turned = {
            "ask": np.einsum("mnhst,mnthd->mnshd", by_logits, key),
            "key": np.einsum("mnhst,mnshd->mnthd", by_logits, ask),
            "value": np.einsum("mnhst,mnshd->mnthd", shares, slope),
        }
        parts = [
            self._back(parameters, gradients, name, (trace.tokens, self._flat(by))) for name, by in by_turned.items()
        ]
        return parts[0] + parts[1] + parts[2]

    def _apply(self, parameters: Parameters, name: str, values: Array) -> Array:
        return linear(values, parameters[f"{name}_weights"], parameters[f"{name}_bias"])

    def _back(self, parameters: Parameters, gradients: Parameters, name: str, at: tuple[Array, Array]) -> Array:
        """Store a linear step's gradients and return the gradient by its inputs; `at` is (inputs, slope by outputs)."""
        values, slope = at
        weights = f"{name}_weights"
        gradients[weights], gradients[f"{name}_bias"] = linear_slopes(values, slope)
        return np.asarray(slope @ np.swapaxes(parameters[weights], 1, 2))

    def _flat(self, values: Array) -> Array:
        """Reshape [members, n, views, ...] to [members, n * views, width]."""
        return values.reshape(len(values), -1, self.width)

    def _split(self, values: Array) -> Array:
        """Reshape [members, n * views, width] to [members, n, views, heads, width / heads]."""
        return values.reshape(len(values), -1, len(self.inputs), self.heads, self.width // self.heads)


def _softmax(logits: Array) -> Array:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def _standardise(parameters: Parameters, name: str, values: Array) -> tuple[Array, Standard]:
    return standardise(values, parameters[f"{name}_gain"], parameters[f"{name}_shift"])


def _standardise_back(books: tuple[Parameters, Parameters], name: str, trace: Standard, slope: Array) -> Array:
    """Store a normalisation's gradients and return the gradient by its inputs; `books` is (parameters, gradients)."""
    parameters, gradients = books
    by_values, gain, shift = standardise_slopes(trace, parameters[f"{name}_gain"], slope)
    gradients[f"{name}_gain"], gradients[f"{name}_shift"] = gain, shift
    return by_values
