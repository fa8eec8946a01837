"""A forest of regression trees as flat arrays: what runs on the request's path, with numpy alone.

All trees stand one after another in depth-first order, so that a node's left child is the next node and only the
step to its right child is kept. All trees of all queries go down together, a level a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats

_CHUNK = 256  # rows that go down together: their nodes and leaves stay in the processor's cache
_LEVELS = 255.0  # leaf values are kept as bytes: a mean of many trees does not feel the rounding


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
        following: [2 * nodes] the node that follows by going left and by going right; a leaf follows itself.
        leaf: [nodes] the number of leaves before a node.
    """

    columns: NDArray[np.int32]
    roots: NDArray[np.int32]
    feature: NDArray[np.uint16]
    threshold: NDArray[np.float16]
    right: NDArray[np.int32]
    values: NDArray[np.uint8]
    following: NDArray[np.int32]
    leaf: NDArray[np.int32]

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
                "values": np.rint(_LEVELS * np.clip(np.concatenate(values), 0.0, 1.0)).astype(np.uint8),
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
                "values": np.full((1, len(columns)), round(_LEVELS * mean), dtype=np.uint8),
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
        following = np.stack([np.where(is_leaf, places, places + 1), places + right], axis=1)
        stored = {name: arrays[name] for name in ("columns", "roots", "feature", "threshold", "right", "values")}
        return cls(
            **stored,
            following=following.ravel().astype(np.int32),
            leaf=(np.cumsum(is_leaf) - is_leaf).astype(np.int32),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything numeric that is stored, by name."""
        names = ("columns", "roots", "feature", "threshold", "right", "values")
        return {name: getattr(self, name) for name in names}

    def mean(self, features: NDArray[np.float32]) -> Floats:
        """[n, c] mean over the trees, from features [n, D] float32."""
        parts = [self._mean_of(features[start : start + _CHUNK]) for start in range(0, len(features), _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.columns)))

    def _mean_of(self, features: NDArray[np.float32]) -> Floats:
        rows, width = features.shape
        flat = features.ravel()
        start_of_row = (np.arange(rows, dtype=np.int64) * width)[:, None]
        node = np.broadcast_to(self.roots.astype(np.int64), (rows, len(self.roots)))
        while True:
            asked = flat.take(self.feature.take(node) + start_of_row)
            after = self.following.take(2 * node + (asked > self.threshold.take(node)))
            if np.array_equal(after, node):
                break
            node = after.astype(np.int64)
        sums = self.values[self.leaf.take(node)].sum(axis=1, dtype=np.float64)
        return np.asarray(sums / (_LEVELS * len(self.roots)), dtype=np.float64)
