"""Splits by group: variants of one template, or questions on one image, never stand on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Row numbers, ascending, of the two sides."""

    seed: int
    train: Rows
    test: Rows


def grouped_splits(groups: Sequence[str], train: float, seeds: Iterable[int]) -> Iterator[Split]:
    """One split a seed: `train` is the share of groups to learn from, strictly between 0 and 1."""
    if not 0 < train < 1:
        raise ValueError(f"the share to train on is {train}, not between 0 and 1")
    names, group_of_row = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"{len(names)} group(s) cannot be split")
    taken = min(max(round(train * len(names)), 1), len(names) - 1)
    for seed in seeds:
        chosen = np.zeros(len(names), dtype=bool)
        chosen[np.random.default_rng(seed).permutation(len(names))[:taken]] = True
        in_train = chosen[group_of_row]
        yield Split(seed=seed, train=np.flatnonzero(in_train), test=np.flatnonzero(~in_train))


def grouped_folds(groups: Sequence[str], folds: int, seed: int) -> Iterator[Split]:
    """Cross-validation: every row is in `test` exactly once. Fewer groups than folds give fewer folds."""
    names, group_of_row = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    folds = min(folds, len(names))
    if folds < 2:
        raise ValueError("cross-validation needs at least 2 groups and 2 folds")
    fold_of_group = np.arange(len(names)) % folds
    fold_of_row = np.random.default_rng(seed).permutation(fold_of_group)[group_of_row]
    for fold in range(folds):
        yield Split(seed=seed, train=np.flatnonzero(fold_of_row != fold), test=np.flatnonzero(fold_of_row == fold))
