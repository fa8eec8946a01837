"""The three networks of MMR-Bench (arXiv 2601.17814), all trained in the same way: `mlp`, `mlp_mf`, `cross_attention`.

They differ from the published code in three things: a missing cell is left out of the loss and not counted as a
failure, the loss is the cross-entropy of the scores, and held-out groups decide when training stops (see
`routers.numeric.cross_fitting`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.features.pca import WHOLE, PcaMap
from routers.numeric.attention import Attention
from routers.numeric.cross_fitting import CrossFitSettings, CrossFittedNetworks, school
from routers.numeric.feed_forward import FeedForward, Layer
from routers.numeric.network import Network
from routers.table.outcome_table import OutcomeTable

_HIDDEN, _LATENT = 64, 8


@dataclass(frozen=True, slots=True, eq=False)
class NetworkHead(ABC):
    """A head that is a set of cross-fitted networks; a subclass gives its name, architecture and training settings.

    Implements `routers.forecasting.head.Head` and `HoldsOut`.
    """

    algorithm: ClassVar[str]
    schooling: ClassVar[CrossFitSettings]

    reduced: PcaMap
    committee: CrossFittedNetworks
    settings: Mapping[str, Any]

    @classmethod
    @abstractmethod
    def architecture(cls, inputs: tuple[int, ...], outputs: int) -> Network:
        """Return the network for views of widths `inputs` and `outputs` candidates."""

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.reduced.view_dims

    def quality(self, views: Views) -> Floats:
        """Return [n, K] expected scores, 0 to 1."""
        return self.committee.quality(self.reduced.tokens(views))

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {**self.reduced.arrays(), **self.committee.parameters}

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> Self:
        return cls.fit_held_out(table, views, seed=seed)[0]

    @classmethod
    def fit_held_out(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> tuple[Self, Floats]:
        """Return the head, and [n, K] forecasts of each row by the member that did not see the row's group."""
        # Fitted on every row: it is learned from queries only, so it has not seen any outcomes.
        reduced = PcaMap.fit(views, wide=WHOLE)
        tokens = reduced.tokens(views)
        network = cls.architecture(_widths(reduced), len(table.candidates))
        schooled = school(network, tokens, table, cls.schooling, seed=seed)
        settings = {**asdict(cls.schooling), **schooled.chosen, "seed": seed}
        return cls(reduced, schooled.committee, settings), schooled.held_out

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]
    ) -> Self:
        """Raises KeyError or ValueError where shapes disagree."""
        reduced, bias = PcaMap.restore(arrays, view_dims), arrays["out_bias"]
        if bias.ndim != 2:
            raise ValueError(f"array 'out_bias' is {bias.shape}, not [members, K]")
        network = cls.architecture(_widths(reduced), bias.shape[1])
        return cls(reduced, CrossFittedNetworks.restore(network, arrays), settings)


def _widths(reduced: PcaMap) -> tuple[int, ...]:
    return tuple(view.axes.shape[1] for view in reduced.views)


class MLP(NetworkHead):
    """The MLP of MMR-Bench: one hidden layer on the concatenated views, one output per candidate.

    Implements `routers.forecasting.head.Head`.
    """

    __slots__ = ()
    algorithm: ClassVar[str] = "mlp"
    schooling: ClassVar[CrossFitSettings] = CrossFitSettings()

    @classmethod
    def architecture(cls, inputs: tuple[int, ...], outputs: int) -> FeedForward:
        return FeedForward(sum(inputs), (Layer("hidden", _HIDDEN), Layer("out", outputs, bends=False)))


class MLPMF(NetworkHead):
    """The MLPMF of MMR-Bench: an MLP maps the query to a small latent vector; each candidate has a factor of that size.

    The logit of a candidate's score is the query's latent vector times the candidate's factor. The latent space has
    fewer dimensions than there are candidates, so candidates share how a query is described and differ in how well they
    answer such queries. Implements `routers.forecasting.head.Head`; the candidates' factors are the columns of
    `out_weights`.
    """

    __slots__ = ()
    algorithm: ClassVar[str] = "mlp_mf"
    schooling: ClassVar[CrossFitSettings] = CrossFitSettings(rate=2e-3)

    @classmethod
    def architecture(cls, inputs: tuple[int, ...], outputs: int) -> FeedForward:
        layers = (Layer("hidden", _HIDDEN), Layer("latent", _LATENT, bends=False), Layer("out", outputs, bends=False))
        return FeedForward(sum(inputs), layers)


class CrossAttention(NetworkHead):
    """Cross-modal attention of MMR-Bench: the text token and the image token attend to each other.

    Smaller than the published network (one block of width 32; published: two of width 512), because a routing table has
    hundreds of queries, not millions. Implements `routers.forecasting.head.Head`.
    """

    __slots__ = ()
    algorithm: ClassVar[str] = "cross_attention"
    schooling: ClassVar[CrossFitSettings] = CrossFitSettings(rate=1e-3, epochs=25)

    @classmethod
    def architecture(cls, inputs: tuple[int, ...], outputs: int) -> Attention:
        return Attention(inputs, outputs)
