"""The ensemble that Loupe ships: factor regression, trees, factorisation, item response and cluster prior, blended.

Each member errs in its own way; how far each is believed is learned from forecasts of held-out groups. How hard a
query is for all candidates alike is taken from the trees only: the others choose among many settings by the very
forecasts that the blend learns from, so they look better there than they are, and routing does not hang on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.blend import Blend
from routers.factor_head import FactorHead
from routers.headed import Head, fit_head
from routers.item_response import ItemResponse
from routers.masked_mf import MaskedMF
from routers.prior import Prior
from routers.table import OutcomeTable
from routers.trees import Trees

MEMBERS: tuple[type[Head], ...] = (FactorHead, Trees, MaskedMF, ItemResponse, Prior)
_SAY_HOW_HARD = (1,)


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """Implements `routers.headed.Head`."""

    algorithm: ClassVar[str] = "ensemble"

    members: tuple[Head, ...]
    blend: Blend

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
        }

    def quality(self, views: Views) -> Floats:
        return self.blend.apply([member.quality(views) for member in self.members])

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        stored: dict[str, NDArray[Any]] = {
            "means": self.blend.means,
            "axis": self.blend.axis,
            "weights": self.blend.weights,
        }
        for member in self.members:
            stored |= {f"{member.algorithm}/{name}": array for name, array in member.arrays().items()}
        return stored

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> Ensemble:
        return cls.fit_held_out(table, views, seed=seed)[0]

    @classmethod
    def fit_held_out(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> tuple[Ensemble, Floats]:
        """The head, and [n, K] forecasts of each row by members that did not see the row's group.

        The blend's few weights are those that all rows taught.
        """
        members, held_out = zip(*(fit_head(member, table, views, seed) for member in MEMBERS), strict=True)
        blend = Blend.fit(held_out, table.score, _SAY_HOW_HARD, table.unequal_weights)
        return cls(members=members, blend=blend), blend.apply(held_out)

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
        return cls(members=tuple(members), blend=Blend(means=means, axis=axis, weights=np.asarray(weights)))
