"""Fusion: maps the views of a query to one feature row for a linear router.

Every statistic (mean, scale, principal axes) is taken from the rows that `fit` is given, the training rows, and
never from the batch that is forecast. A view's absent row (all zeros: a query without image) is replaced by the
training mean, so that it has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from routers.base import Floats, Views
from routers.features.composed_map import ComposedMap, Vectors


@dataclass(frozen=True, slots=True)
class FusionOptions:
    """Options for turning views into features.

    Attributes:
        views: the views to use, in order; products are of the first and the last view.
        components: a view wider than `wide` is reduced to this many principal components, scaled by their
            standard deviation to the power -1/2: half whitened.
        products: the number of whitened components of each of both views that are multiplied; 0 for no products.
    """

    views: tuple[str, ...] = ("text", "image_features")
    wide: int = 512
    components: int = 64
    products: int = 16


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """The part of one view: features = (view - mean) @ axes, and product factors = (view - mean) @ crossing."""

    view: str
    mean: Floats
    axes: Floats
    crossing: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Fusion:
    """The fitted statistics. Features are those of each block, then the products (centred and scaled)."""

    blocks: tuple[Block, ...]
    product_mean: Floats
    product_scale: float

    @classmethod
    def fit(cls, views: Views, options: FusionOptions) -> Fusion:
        """Learn from training rows. Raises KeyError for a missing view."""
        crossed = {options.views[0], options.views[-1]} if options.products and len(options.views) > 1 else set()
        blocks = tuple(
            _fit_block(name, np.asarray(views[name], dtype=np.float64), options, crosses=name in crossed)
            for name in options.views
        )
        bare = cls(blocks=blocks, product_mean=np.zeros(0), product_scale=1.0)
        products = _products([block for block in blocks if block.crossing.shape[1]], bare._centred(views))
        mean = products.mean(axis=0)
        return cls(blocks=blocks, product_mean=mean, product_scale=_root_mean_square(products - mean))

    @property
    def view_dims(self) -> dict[str, int]:
        return {block.view: len(block.mean) for block in self.blocks}

    def transform(self, views: Views) -> Floats:
        """Return features [n, D]."""
        centred = self._centred(views)
        parts = [centred[block.view] @ block.axes for block in self.blocks]
        products = _products(self._crossed, centred)
        parts.append((products - self.product_mean) / self.product_scale)
        return np.concatenate(parts, axis=1)

    def compose(self, weights: Floats, bias: Floats) -> ComposedMap:
        """Return the map views -> transform(views) @ weights + bias, with all linear steps multiplied together."""
        maps, means, crossings, offset, start = {}, {}, {}, bias.copy(), 0
        for block in self.blocks:
            stop = start + block.axes.shape[1]
            straight = block.axes @ weights[start:stop]
            both = np.concatenate([straight, block.crossing], axis=1)
            maps[block.view], means[block.view] = both, block.mean
            crossings[block.view] = block.crossing.shape[1]
            start = stop
        product_map = weights[start:] / self.product_scale
        offset -= self.product_mean @ product_map
        return ComposedMap.build(maps, means, crossings, (product_map, offset))

    @property
    def _crossed(self) -> list[Block]:
        return [block for block in self.blocks if block.crossing.shape[1]]

    def _centred(self, views: Views) -> Mapping[str, Floats]:
        return {block.view: _centre(views[block.view], block.mean) for block in self.blocks}


def _fit_block(name: str, rows: Floats, options: FusionOptions, *, crosses: bool) -> Block:
    present = rows[rows.any(axis=1)]
    if not len(present):  # a table of texts only: the view has no features
        return Block(name, np.zeros(rows.shape[1]), np.zeros((rows.shape[1], 0)), np.zeros((rows.shape[1], 0)))
    mean = present.mean(axis=0)
    centred = present - mean
    spread, axes = _principal(centred)
    width = min(options.products, len(spread)) if crosses else 0
    crossing = axes[:, :width] / spread[:width]
    if rows.shape[1] > options.wide:
        axes = axes[:, : options.components] / np.sqrt(spread[: options.components])
    else:
        axes = np.eye(rows.shape[1])
    return Block(name, mean, axes / _root_mean_square(centred @ axes), crossing)


def _principal(centred: Floats) -> tuple[Floats, Floats]:
    """Return standard deviations, falling, and axes of rows [n, D], from the smaller of the two Gram matrices."""
    rows, width = centred.shape
    if rows < width:
        values, turned = np.linalg.eigh(centred @ centred.T / rows)
        axes = centred.T @ (turned / np.sqrt(rows * np.maximum(values, 1e-300)))
    else:
        values, axes = np.linalg.eigh(centred.T @ centred / rows)
    spread, axes = np.sqrt(np.maximum(values[::-1], 0.0)), axes[:, ::-1]
    kept = spread > 1e-6 * max(spread[0], 1e-12)
    return spread[kept], axes[:, kept]


def _centre(rows: Vectors, mean: Floats) -> Floats:
    centred = np.asarray(rows, dtype=np.float64) - mean
    centred[~np.asarray(rows).any(axis=1)] = 0.0
    return centred


def _products(crossed: Sequence[Block], centred: Mapping[str, Floats]) -> Floats:
    if len(crossed) < 2:
        return np.zeros((len(next(iter(centred.values()))), 0))
    left, right = (centred[block.view] @ block.crossing for block in crossed)
    return (left[:, :, None] * right[:, None, :]).reshape(len(left), -1)


def _root_mean_square(rows: Floats) -> float:
    """Return the root of the mean squared length of rows; 1 where this is 0 or there are no rows."""
    length = float(np.sqrt(np.mean(np.sum(rows**2, axis=1)))) if rows.size else 0.0
    return length if length > 0 else 1.0
