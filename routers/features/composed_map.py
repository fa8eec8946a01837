"""A fused linear map with all linear steps multiplied together, which a router runs on the request's path.

It is one float32 product for all views, and one for the products of their components. Nothing else of training is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Views

Vectors = NDArray[np.float32]
AnyFloats = NDArray[np.floating]


@dataclass(frozen=True, slots=True, eq=False)
class ComposedMap:
    """A map from views to [n, outputs].

    Attributes:
        views: names in the order in which the views are concatenated.
        dims: the dimensions of the views.
        matrix: [sum(dims), outputs + left + right] the linear outputs, then the factors of the products.
        offset: [outputs + left + right].
        product_map: [left * right, outputs]; empty without products.
        means: [sum(dims)] the values that replace an absent row.
        crossed: (left, right), the numbers of factors of both views.
    """

    views: tuple[str, ...]
    dims: tuple[int, ...]
    matrix: Vectors
    offset: Vectors
    product_map: Vectors
    means: Vectors
    crossed: tuple[int, int]

    @classmethod
    def build(
        cls,
        maps: Mapping[str, AnyFloats],
        means: Mapping[str, AnyFloats],
        crossings: Mapping[str, int],
        products: tuple[AnyFloats, AnyFloats],
    ) -> ComposedMap:
        """Compose each view's map of (view - mean) to [outputs + its factors], and (product map, output offset)."""
        product_map, output_offset = products
        outputs = len(output_offset)
        widths = [width for width in crossings.values() if width] if len(product_map) else []
        left, right = widths if widths else (0, 0)
        columns = outputs + left + right
        blocks, offset, factor_start = [], np.zeros(columns), outputs
        offset[:outputs] = output_offset
        for view, straight_and_factors in maps.items():
            block = np.zeros((len(straight_and_factors), columns))
            block[:, :outputs] = straight_and_factors[:, :outputs]
            width = crossings[view] if widths else 0
            block[:, factor_start : factor_start + width] = straight_and_factors[:, outputs : outputs + width]
            factor_start += width
            offset -= means[view] @ block
            blocks.append(block)
        return cls(
            views=tuple(maps),
            dims=tuple(len(block) for block in blocks),
            matrix=np.concatenate(blocks).astype(np.float32),
            offset=offset.astype(np.float32),
            product_map=np.asarray(product_map, dtype=np.float32),
            means=np.concatenate([means[view] for view in maps]).astype(np.float32),
            crossed=(left, right),
        )

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], dims: Mapping[str, int], outputs: int) -> ComposedMap:
        """Restore from arrays that `arrays` gave. Raises KeyError or ValueError where shapes disagree."""
        left, right = (int(width) for width in arrays["crossed"])
        columns = outputs + left + right
        shapes = {
            "matrix": (sum(dims.values()), columns),
            "offset": (columns,),
            "product_map": (left * right, outputs),
            "means": (sum(dims.values()),),
        }
        for name, shape in shapes.items():
            if arrays[name].shape != shape:
                raise ValueError(f"array {name!r} is {arrays[name].shape}, not {shape}")
        stored = {name: arrays[name] for name in shapes}
        return cls(views=tuple(dims), dims=tuple(dims.values()), crossed=(left, right), **stored)

    @property
    def view_dims(self) -> dict[str, int]:
        return dict(zip(self.views, self.dims, strict=True))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every numeric part, by name."""
        return {
            "matrix": self.matrix,
            "offset": self.offset,
            "product_map": self.product_map,
            "means": self.means,
            "crossed": np.array(self.crossed, dtype=np.int64),
        }

    def apply(self, views: Views) -> Vectors:
        """Return outputs [n, outputs] in float32. Raises KeyError for a missing view, ValueError for a wrong dimension.

        Raises ValueError too where views have different numbers of rows.
        """
        rows = np.concatenate(self._parts(views), axis=1)
        straight = rows @ self.matrix + self.offset
        left, right = self.crossed
        if not left:
            return straight
        outputs = straight.shape[1] - left - right
        factors = straight[:, outputs:]
        crossed = factors[:, :left, None] * factors[:, None, left:]
        products: Vectors = crossed.reshape(len(rows), left * right) @ self.product_map
        return straight[:, :outputs] + products

    def _parts(self, views: Views) -> list[Vectors]:
        parts, start, count = [], 0, -1
        for name, dimension in zip(self.views, self.dims, strict=True):
            rows = views[name]
            if rows.ndim != 2 or rows.shape[1] != dimension:
                raise ValueError(f"view {name!r} is {rows.shape}, not [n, {dimension}]")
            if count not in (-1, len(rows)):
                raise ValueError(f"view {name!r} has {len(rows)} rows, another view {count}")
            count = len(rows)
            present = np.asarray(rows.any(axis=1))
            if not present.all():
                rows = np.where(present[:, None], rows, self.means[start : start + dimension])
            parts.append(rows.astype(np.float32, copy=False))
            start += dimension
        return parts
