"""The registry of all algorithms that can be trained and loaded: one file and one line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from routers.algorithms.best_single import BestSingle
from routers.algorithms.cluster_prior import Prior
from routers.algorithms.cluster_profile import ClusterProfile
from routers.algorithms.ensemble import Ensemble
from routers.algorithms.extra_trees import Trees
from routers.algorithms.item_response import ItemResponse
from routers.algorithms.kmeans import KMeans, KMeansAdaptive
from routers.algorithms.knn import Knn
from routers.algorithms.linear import Linear
from routers.algorithms.linear_mf import LinearMF
from routers.algorithms.masked_mf import MaskedMF
from routers.algorithms.neural import MLP, MLPMF, CrossAttention
from routers.algorithms.shrunken_knn import ShrunkenKnn
from routers.base import Router, Views
from routers.forecasting.head import HeadAlgorithm
from routers.table.outcome_table import OutcomeTable


class TrainedRouter(Router, Protocol):
    """A router that one of these algorithms trained, and that can be written to an artifact."""

    @property
    def algorithm(self) -> str:
        """The name of the router's algorithm in the registry."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """The hyper-parameters, including those chosen in fitting; must be valid in JSON."""
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return every numeric part, by name."""
        ...


class Algorithm(Protocol):
    """An algorithm that trains and restores routers: a router's class, or a `HeadAlgorithm` of a head's class.

    See `routers.forecasting.head`.
    """

    @property
    def algorithm(self) -> str:
        """The name of the algorithm in the registry."""
        ...

    def fit(self, table: OutcomeTable, views: Views, *, encoder_digest: str = "", seed: int = 0) -> TrainedRouter:
        """Learn from a table and its queries' views. Raises TableError for a table that cannot teach."""
        ...

    def restore(self, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], digest: str) -> TrainedRouter:
        """Return the router of a header and arrays. Raises KeyError or ValueError where they disagree."""
        ...


DEFAULT = "ensemble"
"""The algorithm of the router that Loupe ships, and the default of `loupe train`."""

FIT_BY_WEIGHTS = frozenset(
    algorithm.algorithm for algorithm in (Ensemble, Trees, LinearMF, MaskedMF, ItemResponse, Prior, Linear, BestSingle)
)
"""The algorithms for which a cell of weight 2 counts twice; for the others, all cells count the same."""

ALGORITHMS: dict[str, Algorithm] = {
    LinearMF.algorithm: LinearMF,
    BestSingle.algorithm: HeadAlgorithm(BestSingle),
    Linear.algorithm: HeadAlgorithm(Linear),
    KMeans.algorithm: HeadAlgorithm(KMeans),
    KMeansAdaptive.algorithm: HeadAlgorithm(KMeansAdaptive),
    MLP.algorithm: HeadAlgorithm(MLP),
    MLPMF.algorithm: HeadAlgorithm(MLPMF),
    CrossAttention.algorithm: HeadAlgorithm(CrossAttention),
    Prior.algorithm: HeadAlgorithm(Prior),
    ItemResponse.algorithm: HeadAlgorithm(ItemResponse),
    MaskedMF.algorithm: HeadAlgorithm(MaskedMF),
    ClusterProfile.algorithm: ClusterProfile,
    Knn.algorithm: HeadAlgorithm(Knn),
    ShrunkenKnn.algorithm: HeadAlgorithm(ShrunkenKnn),
    Trees.algorithm: HeadAlgorithm(Trees),
    Ensemble.algorithm: HeadAlgorithm(Ensemble),
}
