"""Forests of regression trees as flat arrays: `Forest` is the stored form, `MergedForest` forecasts.

In the stored form, all trees follow one another in depth-first order, so that a node's left child is the next node and
only the step to its right child is kept.

Forecasting is on the request's path and uses numpy only. All trees of all forests are descended together for all
queries, one level per step: for one query, a step then costs as much as a few numpy calls, whatever the number of
trees. Rows that have reached a leaf are taken out of the steps once they are more than half of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats

_CHUNK = 256  # rows that are descended together: their nodes and leaves stay in the processor's cache
_STEPS = 4  # steps between checks for rows that have reached a leaf

LEVELS = 255.0
"""Leaf values are kept as bytes, scores times this number: rounding hardly changes a mean of many trees."""


class Tree(Protocol):
    """The attributes of scikit-learn's trees (`DecisionTreeRegressor.tree_`) that `Forest.build` reads."""

    children_left: NDArray[np.intp]
    children_right: NDArray[np.intp]
    feature: NDArray[np.intp]
    threshold: NDArray[np.float64]
    value: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Trees whose leaves hold the mean scores of `columns`.

    Attributes:
        columns: [c] the candidates that the trees forecast.
        roots: [trees] each tree's first node.
        feature: [nodes] the feature that a node compares.
        threshold: [nodes] float16; a row whose feature is at or below it goes left.
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
        """Return the forest of fitted trees whose values are [nodes, c, 1].

        `starts` has, for each tree, the number of its first feature. Raises ValueError for trees that are not in
        depth-first order.
        """
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
        """Return a forest of one tree with one leaf."""
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
        """Return the forest of arrays that `arrays` gave. Raises KeyError or ValueError where they disagree."""
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
        """Return every numeric part, by name."""
        return {part.name: getattr(self, part.name) for part in fields(self)}


@dataclass(frozen=True, slots=True, eq=False)
class MergedForest:
    """Forests with all their nodes in common arrays, ready to forecast.

    Attributes:
        forests: the forests, which hold the leaves' values; together they forecast each candidate once.
        roots: [trees] each tree's first node.
        feature: [nodes] the feature that a node compares.
        threshold: [nodes] a row whose feature is at or below it goes left.
        following: [2 * nodes] a node's left child, then its right child; a leaf is its own child.
        is_leaf: [nodes].
        leaf: [nodes] the number of leaves before a node in its own forest.
    """

    forests: tuple[Forest, ...]
    roots: NDArray[np.intp]
    feature: NDArray[np.uint16]
    threshold: NDArray[np.float32]
    following: NDArray[np.intp]
    is_leaf: NDArray[np.bool_]
    leaf: NDArray[np.int32]

    @classmethod
    def of(cls, forests: Sequence[Forest]) -> MergedForest:
        """Merge forests. Raises ValueError where the forests do not forecast each candidate exactly once."""
        columns = np.concatenate([forest.columns for forest in forests]) if forests else np.zeros(0)
        if not len(columns) or not np.array_equal(np.sort(columns), np.arange(len(columns))):
            raise ValueError("the forests do not know each candidate once")
        sizes = [len(forest.right) for forest in forests]
        starts = np.cumsum([0, *sizes[:-1]])
        right = np.concatenate([forest.right for forest in forests]).astype(np.intp)
        is_leaf, places = right == 0, np.arange(len(right))
        leaves = [np.cumsum(forest.right == 0) - (forest.right == 0) for forest in forests]
        return cls(
            forests=tuple(forests),
            roots=np.concatenate([forest.roots + start for forest, start in zip(forests, starts, strict=True)]),
            feature=np.concatenate([forest.feature for forest in forests]),
            threshold=np.concatenate([forest.threshold for forest in forests]).astype(np.float32),
            following=np.stack([np.where(is_leaf, places, places + 1), places + right], axis=1).ravel(),
            is_leaf=is_leaf,
            leaf=np.concatenate(leaves).astype(np.int32),
        )

    @property
    def width(self) -> int:
        """The least number of features that a row must have."""
        return int(self.feature.max(initial=0)) + 1

    def mean(self, features: NDArray[np.float32]) -> Floats:
        """Return [n, K] the mean over each candidate's trees, from features [n, D] float32."""
        found = np.empty((len(features), sum(len(forest.columns) for forest in self.forests)))
        for start in range(0, len(features), _CHUNK):
            part = slice(start, start + _CHUNK)
            leaves = self.leaf.take(self._arrived(features[part])).reshape(-1, len(self.roots))
            first = 0
            for forest in self.forests:
                trees = len(forest.roots)
                sums = forest.values.take(leaves[:, first : first + trees], axis=0).sum(axis=1, dtype=np.float64)
                found[part, forest.columns] = sums / (LEVELS * trees)
                first += trees
        return found

    def _arrived(self, features: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return [n * trees] the node of the leaf that each row reaches in each tree."""
        rows, width = features.shape
        flat, trees = features.ravel(), len(self.roots)
        node, start = np.tile(self.roots, rows), np.repeat(np.arange(rows) * width, trees)
        place, arrived = np.arange(rows * trees), np.empty(rows * trees, dtype=np.intp)
        while len(node):
            for _ in range(_STEPS):
                goes_right = flat.take(self.feature.take(node) + start) > self.threshold.take(node)
                node = self.following.take(2 * node + goes_right)
            done = self.is_leaf.take(node)
            count = np.count_nonzero(done)
            if count == len(node):
                arrived[place] = node
                break
            if 2 * count > len(node):
                arrived[place[done]] = node[done]
                node, start, place = node[~done], start[~done], place[~done]
        return arrived
