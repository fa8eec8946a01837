"""Splits: no group on both sides, every seed its own, the share as asked."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from routers.table.split import cross_dataset, grouped_folds, grouped_splits, numbered

GROUPS = [f"g{row // 3}" for row in range(90)]


@given(st.lists(st.sampled_from("abcdefgh"), min_size=2).filter(lambda names: len(set(names)) > 1))
def test_no_group_stands_on_both_sides(groups: list[str]) -> None:
    for split in [*grouped_splits(groups, 0.5, range(3)), *grouped_folds(groups, 3, 0)]:
        learned = {groups[row] for row in split.train}
        hidden = {groups[row] for row in split.test}
        assert learned
        assert hidden
        assert not learned & hidden
        assert sorted([*split.train, *split.test]) == list(range(len(groups)))


def test_rows_are_numbered_by_their_groups_in_order() -> None:
    names, places = numbered(["b", "a", "b"])
    assert names.tolist() == ["a", "b"]
    assert places.tolist() == [1, 0, 1]


def test_share_is_of_groups() -> None:
    (split,) = grouped_splits(GROUPS, 0.2, [0])
    assert len(split.train) == 18


def test_same_seed_same_split_and_other_seed_other_split() -> None:
    first, again, other = (next(iter(grouped_splits(GROUPS, 0.2, [seed]))) for seed in (7, 7, 8))
    assert (first.train == again.train).all()
    assert not np.array_equal(first.train, other.train)


def test_folds_test_each_row_once() -> None:
    tested = np.concatenate([fold.test for fold in grouped_folds(GROUPS, 4, 0)])
    assert sorted(tested) == list(range(len(GROUPS)))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        list(grouped_splits(GROUPS, share, [0]))


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="1 group"):
        list(grouped_splits(["a", "a"], 0.5, [0]))
    with pytest.raises(ValueError, match="2 groups"):
        list(grouped_folds(["a", "a"], 5, 0))


def test_rows_of_a_tested_group_are_not_learned_from() -> None:
    split = cross_dataset(np.arange(0, 10), np.array([20, 10]), GROUPS, seed=3)
    assert split.train.tolist() == list(range(0, 9))  # row 9 is of the same group as row 10
    assert split.test.tolist() == [10, 20]
    assert split.seed == 3


def test_cross_dataset_without_a_side_is_refused() -> None:
    with pytest.raises(ValueError, match="learn from"):
        cross_dataset(np.array([9, 11]), np.array([10]), GROUPS)
    with pytest.raises(ValueError, match="be judged on"):
        cross_dataset(np.arange(3), np.array([], dtype=np.intp), GROUPS)
