"""Splits by group: variants of one template, or questions on one image, are never on both sides.

Splits are in-domain (a share of one table's groups) or across data sets, as in MMR-Bench (arXiv 2601.17814), which
splits without groups. `routers.evaluation.bench` builds its blocks from these splits, and withholds images to judge
across modalities.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The ascending row numbers of the two sides."""

    seed: int
    train: Rows
    test: Rows


def numbered(groups: Sequence[str]) -> tuple[NDArray[np.str_], Rows]:
    """Return the distinct groups in order, and [n] the index of each row's group among the distinct groups."""
    names, group_of_row = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    return names, np.asarray(group_of_row, dtype=np.intp)


def grouped_splits(groups: Sequence[str], train: float, seeds: Iterable[int]) -> Iterator[Split]:
    """Yield one split per seed; `train` is the share of groups to learn from, strictly between 0 and 1.

    Raises ValueError for another share, and for fewer than two groups.
    """
    if not 0 < train < 1:
        raise ValueError(f"the share to train on is {train}, not between 0 and 1")
    names, group_of_row = numbered(groups)
    if len(names) < 2:
        raise ValueError(f"{len(names)} group(s) cannot be split")
    taken = min(max(round(train * len(names)), 1), len(names) - 1)
    for seed in seeds:
        chosen = np.zeros(len(names), dtype=bool)
        chosen[np.random.default_rng(seed).permutation(len(names))[:taken]] = True
        in_train = chosen[group_of_row]
        yield Split(seed=seed, train=np.flatnonzero(in_train), test=np.flatnonzero(~in_train))


def grouped_folds(groups: Sequence[str], folds: int, seed: int) -> Iterator[Split]:
    """Yield the folds of cross-validation: every row is in `test` exactly once.

    Fewer groups than folds give fewer folds. Raises ValueError for fewer than two groups or folds.
    """
    names, group_of_row = numbered(groups)
    folds = min(folds, len(names))
    if folds < 2:
        raise ValueError("cross-validation needs at least 2 groups and 2 folds")
    fold_of_group = np.arange(len(names)) % folds
    fold_of_row = np.random.default_rng(seed).permutation(fold_of_group)[group_of_row]
    for fold in range(folds):
        yield Split(seed=seed, train=np.flatnonzero(fold_of_row != fold), test=np.flatnonzero(fold_of_row == fold))


def cross_dataset(train: Rows, test: Rows, groups: Sequence[str], *, seed: int = 0) -> Split:
    """Return the split that learns from some rows and is judged on others.

    Rows whose group is among the `test` rows are not learned from. Raises ValueError when a side is empty.
    """
    hidden = {groups[row] for row in test}
    learned = np.array([row for row in np.unique(train) if groups[row] not in hidden], dtype=np.intp)
    for side, rows in (("learn from", learned), ("be judged on", test)):
        if not len(rows):
            raise ValueError(f"no row is left to {side}, once groups of the other side are left out")
    return Split(seed=seed, train=learned, test=np.unique(test))
