"""The ensemble that Loupe ships: a blend of factor regression, trees, factorisation, item response and cluster prior.

Each member errs in its own way. Forecasts of held-out groups teach the weight of each member, and how far to believe
a forecast that a candidate beats the best single one. How hard a query is for all candidates alike is taken from trees
and factor regression only, at least half of it from `Trees`: the other members choose among many settings by the same
forecasts that the blend learns from, so they look better there than they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers.algorithms.cluster_prior import Prior
from routers.algorithms.extra_trees import PlainTrees, Trees
from routers.algorithms.item_response import ItemResponse
from routers.algorithms.linear_mf import FactorHead
from routers.algorithms.masked_mf import MaskedMF
from routers.base import Floats, Views
from routers.forecasting.blend import Blend, HeldOut
from routers.forecasting.head import Head, fit_head
from routers.forecasting.shrinkage import ShrinkageFit
from routers.table.outcome_table import OutcomeTable
from routers.table.split import grouped_folds
from routers.table.summary import column_means
from routers.table.weights import rows_of_weights

MEMBERS: tuple[type[Head], ...] = (FactorHead, Trees, PlainTrees, MaskedMF, ItemResponse, Prior)
_SAY_HOW_HARD, _TRUSTED = (0, 2), 1
_FOLDS = 5  # every member's


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """Implements `routers.forecasting.head.Head`.

    Example:
        >>> import numpy as np
        >>> from routers.registry import ALGORITHMS
        >>> from routers.table.outcome_table import OutcomeTable
        >>> rows = range(24)
        >>> table = OutcomeTable(
        ...     query_ids=tuple(f"query {row}" for row in rows),
        ...     groups=tuple(f"group {row // 8}" for row in rows),
        ...     questions=tuple("chart" if row % 2 else "greeting" for row in rows),
        ...     image_paths=(None,) * 24,
        ...     candidates=("small", "large"),
        ...     score=np.array([[0.8, 0.9], [0.2, 0.9]] * 12),  # "small" fails on charts
        ...     output_tokens=np.full((24, 2), 80.0),
        ...     cost_usd=np.full((24, 2), [0.001, 0.01]),
        ... )
        >>> views = {"text": np.array([[1, 0], [0, 1]] * 12, dtype=np.float32)}
        >>> router = ALGORITHMS["ensemble"].fit(table, views)
        >>> router.forecast(views).quality[:2].round(1).tolist()  # a greeting, then a chart
        [[0.8, 0.9], [0.2, 0.9]]
    """

    algorithm: ClassVar[str] = "ensemble"

    members: tuple[Head, ...]
    blend: Blend
    caution: ShrinkageFit

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.members[0].view_dims

    @property
    def settings(self) -> Mapping[str, Any]:
        names = [member.algorithm for member in self.members]
        return {
            "members": {name: dict(member.settings) for name, member in zip(names, self.members, strict=True)},
            "weight_of_common": dict(zip(names, self.blend.weights[0].round(4).tolist(), strict=True)),
            "weight_of_own": dict(zip(names, self.blend.weights[1].round(4).tolist(), strict=True)),
            "sharpness": round(self.blend.sharpness, 4),
            "incumbent": self.caution.incumbent,
            "belief": round(self.caution.belief, 4),
        }

    def quality(self, views: Views) -> Floats:
        return self.caution.apply(self.blend.apply([member.quality(views) for member in self.members]))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        stored: dict[str, NDArray[Any]] = {
            "means": self.blend.means,
            "axis": self.blend.axis,
            "weights": self.blend.weights,
            "sharpness": np.array(self.blend.sharpness),
            "caution": np.array([self.caution.incumbent, self.caution.belief]),
        }
        for member in self.members:
            stored |= {f"{member.algorithm}/{name}": array for name, array in member.arrays().items()}
        return stored

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> Ensemble:
        return cls.fit_held_out(table, views, seed=seed)[0]

    @classmethod
    def fit_held_out(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> tuple[Ensemble, Floats]:
        """Return the head, and [n, K] forecasts of each row by members that did not see the row's group.

        The few numbers of the blend and of its shrinkage (`caution`) are learned from all rows.
        """
        members, held_out = zip(*(fit_head(member, table, views, seed) for member in MEMBERS), strict=True)
        return cls.blended(
            members,
            HeldOut(held_out, _taught_means(table, seed), table.score, table.groups, table.unequal_weights),
            table,
        )

    @classmethod
    def blended(cls, members: Sequence[Head], held_out: HeldOut, table: OutcomeTable) -> tuple[Ensemble, Floats]:
        """Return the ensemble of fitted members, blended by their held-out forecasts, and its own ones."""
        # Where candidates were observed on different queries, a member's forecasts of unobserved cells cannot be
        # checked. With two tables at once, factor regression took half of the common part, and the larger table lost.
        # So there only `Trees` gives the common part.
        common = _SAY_HOW_HARD if table.mask.all() else (_TRUSTED,)
        blend = Blend.fit(held_out, common, trusted=_TRUSTED)
        said = blend.apply(held_out.forecasts, held_out.means)
        caution = ShrinkageFit.fit(said, table, held_out.means - blend.means)
        return cls(members=tuple(members), blend=blend, caution=caution), caution.apply(said)

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]
    ) -> Ensemble:
        members = []
        for member in MEMBERS:
            prefix = f"{member.algorithm}/"
            own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            members.append(member.restore(settings["members"][member.algorithm], own, view_dims))
        means, axis, weights = (arrays[name] for name in ("means", "axis", "weights"))
        if axis.shape != means.shape or weights.shape != (2, len(members)):
            raise ValueError(f"the blend of {len(members)} members is {weights.shape}, its axis {axis.shape}")
        incumbent, belief = arrays["caution"].tolist()
        if not 0 <= incumbent < len(means):
            raise ValueError(f"the incumbent is column {incumbent:g} of {len(means)}")
        blend = Blend(means=means, axis=axis, weights=np.asarray(weights), sharpness=float(arrays["sharpness"]))
        return cls(members=tuple(members), blend=blend, caution=ShrinkageFit(int(incumbent), belief))


def _taught_means(table: OutcomeTable, seed: int) -> Floats:
    """Return [n, K] the candidates' means over the rows that taught each row's held-out forecast."""
    means, weights = np.empty(table.score.shape), table.unequal_weights
    for fold in grouped_folds(table.groups, _FOLDS, seed):
        means[fold.test] = column_means(table.score[fold.train], rows_of_weights(weights, fold.train))
    return means
