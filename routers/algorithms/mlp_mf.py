"""MLPMF of MMR-Bench (arXiv 2601.17814): an MLP into a small latent space, and a factor of it a candidate.

A query's latent vector times a candidate's factor is the logit of its score. The latent space is narrower than
there are candidates, so candidates share what a query is, and differ in what they make of it.
"""

from __future__ import annotations

from typing import ClassVar

from routers.algorithms.neural import NetworkHead
from routers.numeric.cross_fitting import Schooling
from routers.numeric.feed_forward import FeedForward, Layer

_HIDDEN, _LATENT = 64, 8


class MLPMF(NetworkHead):
    """Implements `routers.forecasting.head.Head`; the candidates' factors are the columns of `out_weights`."""

    __slots__ = ()
    algorithm: ClassVar[str] = "mlp_mf"
    schooling: ClassVar[Schooling] = Schooling(rate=2e-3)

    @classmethod
    def architecture(cls, inputs: tuple[int, ...], outputs: int) -> FeedForward:
        layers = (Layer("hidden", _HIDDEN), Layer("latent", _LATENT, bends=False), Layer("out", outputs, bends=False))
        return FeedForward(sum(inputs), layers)
