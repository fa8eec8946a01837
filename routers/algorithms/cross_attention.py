"""Cross-modal attention of MMR-Bench (arXiv 2601.17814): text and image as tokens that attend to each other.

Smaller than the published one (one block of width 32 against two of 512), since a routing table has hundreds of
queries and not millions; trained like the other networks here (see `routers.numeric.cross_fitting`).
"""

from __future__ import annotations

from typing import ClassVar

from routers.algorithms.neural import NetworkHead
from routers.numeric.attention import Attention
from routers.numeric.cross_fitting import Schooling


class CrossAttention(NetworkHead):
    """Implements `routers.forecasting.head.Head`."""

    __slots__ = ()
    algorithm: ClassVar[str] = "cross_attention"
    schooling: ClassVar[Schooling] = Schooling(rate=1e-3, epochs=25)

    @classmethod
    def architecture(cls, inputs: tuple[int, ...], outputs: int) -> Attention:
        return Attention(inputs, outputs)
