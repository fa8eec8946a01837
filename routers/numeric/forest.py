"""A forest of regression trees as flat arrays: what is stored of it. `routers.numeric.grove` forecasts with it.

All trees stand one after another in depth-first order, so that a node's left child is the next node and only the
step to its right child is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

LEVELS = 255.0
"""Leaf values are kept as bytes, scores times this: a mean of many trees does not feel the rounding."""


class Tree(Protocol):
    """What is read of scikit-learn's trees (`DecisionTreeRegressor.tree_`)."""

    children_left: NDArray[np.intp]
    children_right: NDArray[np.intp]
    feature: NDArray[np.intp]
    threshold: NDArray[np.float64]
    value: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Trees whose leaves hold the mean scores of `columns`.

    Attributes:
        columns: [c] the candidates that it knows.
        roots: [trees] each tree's first node.
        feature: [nodes] the feature that is asked for.
        threshold: [nodes] float16; at or below it a row goes left.
        right: [nodes] steps from a node to its right child; 0 makes a leaf.
        values: [leaves, c] bytes; scores times 255, in the order of the leaves' nodes.
    """

    columns: NDArray[np.int32]
    roots: NDArray[np.int32]
    feature: NDArray[np.uint16]
    threshold: NDArray[np.float16]
    right: NDArray[np.int32]
    values: NDArray[np.uint8]

    @classmethod
    def build(cls, columns: Sequence[int], trees: Sequence[Tree], starts: Sequence[int]) -> Forest:
        """From fitted trees whose values are [nodes, c, 1]; a tree's features begin at its place in `starts`."""
        sizes = [len(tree.feature) for tree in trees]
        rights, values = [], []
        for tree in trees:
            inner = tree.children_left >= 0
            places = np.arange(len(inner))
            if not np.array_equal(tree.children_left[inner], places[inner] + 1):
                raise ValueError("these trees are not in depth-first order")
            rights.append(np.where(inner, tree.children_right - places, 0))
            values.append(tree.value[~inner, :, 0])
        return cls.of_arrays(
            {
                "columns": np.asarray(columns, dtype=np.int32),
                "roots": np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int32),
                "feature": np.concatenate(
                    [np.maximum(tree.feature, 0) + start for tree, start in zip(trees, starts, strict=True)]
                ).astype(np.uint16),
                "threshold": np.concatenate([tree.threshold for tree in trees]).astype(np.float16),
                "right": np.concatenate(rights).astype(np.int32),
                "values": np.rint(LEVELS * np.clip(np.concatenate(values), 0.0, 1.0)).astype(np.uint8),
            }
        )

    @classmethod
    def stump(cls, columns: Sequence[int], mean: float) -> Forest:
        """One tree of one leaf."""
        node = np.zeros(1, dtype=np.int32)
        return cls.of_arrays(
            {
                "columns": np.asarray(columns, dtype=np.int32),
                "roots": node,
                "feature": node.astype(np.uint16),
                "threshold": node.astype(np.float16),
                "right": node,
                "values": np.full((1, len(columns)), round(LEVELS * mean), dtype=np.uint8),
            }
        )

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Forest:
        """From what `arrays` gave. Raises KeyError or ValueError where they disagree."""
        columns, roots, right, values = (arrays[name] for name in ("columns", "roots", "right", "values"))
        nodes = len(right)
        is_leaf = right == 0
        places = np.arange(nodes, dtype=np.int64)
        if not (len(arrays["feature"]) == len(arrays["threshold"]) == nodes):
            raise ValueError("the trees' nodes disagree in number")
        if values.shape != (int(is_leaf.sum()), len(columns)):
            raise ValueError(f"array 'values' is {values.shape}, not {(int(is_leaf.sum()), len(columns))}")
        if not len(roots) or roots.min() < 0 or max(int(roots.max()), int((places + right).max())) >= nodes:
            raise ValueError("a tree leads out of the forest")
        if right.min() < 0:
            raise ValueError("a tree leads backwards")
        return cls(**{part.name: arrays[part.name] for part in fields(cls)})

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything numeric, by name."""
        return {part.name: getattr(self, part.name) for part in fields(self)}
