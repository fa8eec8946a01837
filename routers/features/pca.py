"""Views reduced to their principal components: the features that the simpler families learn from.

Every statistic is the training rows' own (see `routers.features.fusion`). A row that is absent (all zeros: a query
without image) stands at the training mean, so it says nothing.
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
"""Principal components that are kept of a view."""
WHOLE = 512
"""A `wide` that leaves text embeddings whole: their kind is told by directions that whitening would drown."""
_TOKEN_LENGTH = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class PcaView:
    """One view's map: (row - mean) @ axes; mean [dimension], axes [dimension, width]."""

    name: str
    mean: NDArray[np.float32]
    axes: NDArray[np.float32]

    def apply(self, views: Views) -> Floats:
        """[n, width]. Raises KeyError for a missing view, ValueError for a wrong dimension."""
        rows = np.asarray(views[self.name])
        if rows.ndim != 2 or rows.shape[1] != len(self.mean):
            raise ValueError(f"view {self.name!r} is {rows.shape}, not [n, {len(self.mean)}]")
        present = np.asarray(rows.any(axis=1))
        reduced = (np.where(present[:, None], rows, self.mean) - self.mean).astype(np.float32) @ self.axes
        return reduced.astype(np.float64)

    def then(self, weights: Floats) -> PcaView:
        """The map followed by `weights` [width, outputs], multiplied out."""
        return PcaView(self.name, self.mean, (self.axes @ weights).astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class PcaMap:
    """Several views' maps. Each view's rows have a mean squared length of 1, so all weigh the same."""

    views: tuple[PcaView, ...]

    @classmethod
    def fit(cls, views: Views, names: Sequence[str] = (), *, components: int = COMPONENTS, wide: int = 0) -> PcaMap:
        """Half-whitened components of each view named (else `usual_views`), from training rows.

        A view no wider than `wide` is left whole. Raises KeyError for a missing view.
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
        """Each view's [n, width], of a length that suits networks: entries near 1 at 64 components."""
        return tuple(view.apply(views) * _TOKEN_LENGTH for view in self.views)

    def rows(self, views: Views) -> Floats:
        """[n, sum of widths], side by side."""
        return np.concatenate([view.apply(views) for view in self.views], axis=1)

    def summed(self, views: Views) -> Floats:
        """[n, width], for maps that were multiplied out to one common width."""
        return np.asarray(sum(view.apply(views) for view in self.views), dtype=np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything numeric, by name."""
        stored: dict[str, NDArray[Any]] = {}
        for view in self.views:
            stored |= {f"mean/{view.name}": view.mean, f"axes/{view.name}": view.axes}
        return stored

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]) -> PcaMap:
        """From what `arrays` gave. Raises KeyError or ValueError where shapes disagree."""
        views = []
        for name, dimension in view_dims.items():
            mean, axes = arrays[f"mean/{name}"], arrays[f"axes/{name}"]
            if mean.shape != (dimension,) or axes.ndim != 2 or len(axes) != dimension:
                raise ValueError(f"view {name!r} has {dimension} dimensions, its map {mean.shape} and {axes.shape}")
            views.append(PcaView(name, mean, axes))
        return cls(tuple(views))


def usual_views(views: Views) -> tuple[str, ...]:
    """Text and the richest view of the image that there is. Raises KeyError when there is neither."""
    image = "image_features" if "image_features" in views else "image"
    names = tuple(name for name in ("text", image) if name in views)
    if not names:
        raise KeyError(f"neither a text nor an image view among {', '.join(sorted(views)) or 'none'}")
    return names


def sized(arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The array of this name. Raises KeyError, or ValueError where it is not of this shape."""
    if arrays[name].shape != shape:
        raise ValueError(f"array {name!r} is {arrays[name].shape}, not {shape}")
    return arrays[name]
