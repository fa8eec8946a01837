"""Forests at work: what runs on the request's path, with numpy alone.

All trees of all forests go down together for all queries, a level a step: for one query a step costs what calling
numpy costs, whatever the number of trees. Those that stand at a leaf are left behind once they are the larger half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats
from routers.numeric.forest import LEVELS, Forest

_CHUNK = 256  # rows that go down together: their nodes and leaves stay in the processor's cache
_STEPS = 4  # between looking for those that have arrived


@dataclass(frozen=True, slots=True, eq=False)
class Grove:
    """Forests with their nodes in one row.

    Attributes:
        forests: their leaves' values; together they know each candidate once.
        roots: [trees] each tree's first node.
        feature: [nodes] the feature that is asked for.
        threshold: [nodes] at or below it a row goes left.
        following: [2 * nodes] the node that follows by going left and by going right; a leaf follows itself.
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
    def of(cls, forests: Sequence[Forest]) -> Grove:
        """Raises ValueError where the forests do not know each candidate once."""
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
        """How many features it asks for at least."""
        return int(self.feature.max(initial=0)) + 1

    def mean(self, features: NDArray[np.float32]) -> Floats:
        """[n, K] mean over each candidate's trees, from features [n, D] float32."""
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
        """[n * trees] the leaf's node that each row comes to in each tree."""
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
