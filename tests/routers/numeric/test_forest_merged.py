"""Forests that go down together forecast what each does alone, and know each candidate once."""

from __future__ import annotations

import numpy as np
import pytest

from routers.numeric.forest import Forest, MergedForest
from tests.routers.algorithms.test_extra_trees import flat, grown


def test_forests_together_forecast_what_each_does_alone() -> None:
    wide, narrow = flat(grown()[0], (0, 2, 4)), flat(grown(rows=90)[0], (1, 3, 5))
    asked = np.random.default_rng(1).standard_normal((300, 8)).astype(np.float32)
    together = MergedForest.of([wide, narrow]).mean(asked)
    np.testing.assert_array_equal(together[:, [0, 2, 4]], MergedForest.of([flat(grown()[0])]).mean(asked))
    np.testing.assert_array_equal(together[:, [1, 3, 5]], MergedForest.of([flat(grown(rows=90)[0])]).mean(asked))


def test_trees_of_one_leaf_stand_beside_deep_ones() -> None:
    stump = Forest.stump([3], 0.4)
    found = MergedForest.of([stump, flat(grown()[0])]).mean(grown()[1])
    np.testing.assert_allclose(found[:, 3], 0.4, atol=1 / 510)
    assert found[:, :3].std() > 0.1


def test_width_is_one_more_than_the_last_feature_asked_for() -> None:
    assert MergedForest.of([flat(grown()[0])]).width == 8
    assert MergedForest.of([Forest.stump([0], 0.4)]).width == 1


def test_a_candidate_known_twice_or_never_is_refused() -> None:
    for forests in ([], [Forest.stump([1], 0.4)], [Forest.stump([0], 0.4), Forest.stump([0, 1], 0.4)]):
        with pytest.raises(ValueError, match="each candidate once"):
            MergedForest.of(forests)
