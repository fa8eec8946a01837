"""MLP of MMR-Bench (arXiv 2601.17814): one hidden layer on the fused views, an output a candidate.

Against the published code: a missing cell is left out of the loss rather than taken for a failure, the loss is the
scores' cross-entropy, and held-out groups say when to stop (see `routers.numeric.cross_fitting`).
"""

from __future__ import annotations

from typing import ClassVar

from routers.algorithms.neural import NetworkHead
from routers.numeric.cross_fitting import Schooling
from routers.numeric.feed_forward import FeedForward, Layer

_HIDDEN = 64


class MLP(NetworkHead):
    """Implements `routers.forecasting.head.Head`."""

    __slots__ = ()
    algorithm: ClassVar[str] = "mlp"
    schooling: ClassVar[Schooling] = Schooling()

    @classmethod
    def architecture(cls, inputs: tuple[int, ...], outputs: int) -> FeedForward:
        return FeedForward(sum(inputs), (Layer("hidden", _HIDDEN), Layer("out", outputs, bends=False)))
