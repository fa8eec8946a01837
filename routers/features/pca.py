"""Views reduced to their principal components: the features that the simpler routers learn from.

Every statistic comes from the training rows (see `routers.features.fusion`). An absent row (all zeros: a query without
image) is replaced by the training mean, so that it has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.features.fusion import Fusion, FusionOptions

COMPONENTS = 64
"""The number of principal components that are kept of a view."""
WHOLE = 512
"""A `wide` that keeps text embeddings whole, because whitening would drown the directions that tell kinds of text."""
_TOKEN_LENGTH = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class PcaView:
    """The map of one view, (row - mean) @ axes; mean [dimension], axes [dimension, width]."""

    name: str
    mean: NDArray[np.float32]
    axes: NDArray[np.float32]

    def apply(self, views: Views) -> Floats:
        """Return rows [n, width]. Raises KeyError for a missing view, ValueError for a wrong dimension."""
        rows = np.asarray(views[self.name])
        if rows.ndim != 2 or rows.shape[1] != len(self.mean):
            raise ValueError(f"view {self.name!r} is {rows.shape}, not [n, {len(self.mean)}]")
        present = np.asarray(rows.any(axis=1))
        reduced = (np.where(present[:, None], rows, self.mean) - self.mean).astype(np.float32) @ self.axes
        return reduced.astype(np.float64)

    def then(self, weights: Floats) -> PcaView:
        """Return this map followed by `weights` [width, outputs], as one map."""
        return PcaView(self.name, self.mean, (self.axes @ weights).astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class PcaMap:
    """The maps of several views. Each view's rows have a mean squared length of 1, so all views weigh the same."""

    views: tuple[PcaView, ...]

    @classmethod
    def fit(cls, views: Views, names: Sequence[str] = (), *, components: int = COMPONENTS, wide: int = 0) -> PcaMap:
        """Learn half-whitened components of each named view (default: `usual_views`) from training rows.

        A view no wider than `wide` is kept whole. Raises KeyError for a missing view.
        """
        options = FusionOptions(tuple(names) or usual_views(views), wide=wide, components=components, products=0)
        return cls(
            tuple(
                PcaView(block.view, block.mean.astype(np.float32), block.axes.astype(np.float32))
                for block in Fusion.fit(views, options).blocks
            )
        )

    @property
    def view_dims(self) -> dict[str, int]:
        return {view.name: len(view.mean) for view in self.views}

    def tokens(self, views: Views) -> tuple[Floats, ...]:
        """Return each view's rows [n, width], scaled for networks: entries are near 1 at 64 components."""
        return tuple(view.apply(views) * _TOKEN_LENGTH for view in self.views)

    def rows(self, views: Views) -> Floats:
        """Return [n, sum of widths] the rows of all views, concatenated."""
        return np.concatenate([view.apply(views) for view in self.views], axis=1)

    def summed(self, views: Views) -> Floats:
        """Return [n, width] the sum over views, for maps that `then` brought to one common width."""
        return np.asarray(sum(view.apply(views) for view in self.views), dtype=np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every numeric part, by name."""
        stored: dict[str, NDArray[Any]] = {}
        for view in self.views:
            stored |= {f"mean/{view.name}": view.mean, f"axes/{view.name}": view.axes}
        return stored

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]) -> PcaMap:
        """Restore from arrays that `arrays` gave. Raises KeyError or ValueError where shapes disagree."""
        views = []
        for name, dimension in view_dims.items():
            mean, axes = arrays[f"mean/{name}"], arrays[f"axes/{name}"]
            if mean.shape != (dimension,) or axes.ndim != 2 or len(axes) != dimension:
                raise ValueError(f"view {name!r} has {dimension} dimensions, its map {mean.shape} and {axes.shape}")
            views.append(PcaView(name, mean, axes))
        return cls(tuple(views))


def usual_views(views: Views) -> tuple[str, ...]:
    """Return the names of the text view and of the richest image view. Raises KeyError when there is neither."""
    image = "image_features" if "image_features" in views else "image"
    names = tuple(name for name in ("text", image) if name in views)
    if not names:
        raise KeyError(f"neither a text nor an image view among {', '.join(sorted(views)) or 'none'}")
    return names


def sized(arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the array of this name. Raises KeyError where it is missing, ValueError where its shape differs."""
    if arrays[name].shape != shape:
        raise ValueError(f"array {name!r} is {arrays[name].shape}, not {shape}")
    return arrays[name]
