"""Forests as arrays forecast what scikit-learn's trees do; missing cells part candidates, never fill in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor

from routers.algorithms.extra_trees import PlainTrees, Trees
from routers.numeric.forest import LEVELS, Forest, MergedForest
from tests.fakes.synthetic import drawn_table


def grown(rows: int = 400, outputs: int = 3) -> tuple[ExtraTreesRegressor, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    features = random.standard_normal((rows, 8)).astype(np.float16).astype(np.float32)
    score = (features[:, :outputs] + 0.3 * random.standard_normal((rows, outputs)) > 0).astype(np.float64)
    forest = ExtraTreesRegressor(20, min_samples_leaf=4, random_state=0).fit(features, score)
    return forest, features, score


def flat(forest: ExtraTreesRegressor, columns: tuple[int, ...] = (0, 1, 2)) -> Forest:
    return Forest.build(columns, [tree.tree_ for tree in forest.estimators_], [0] * len(forest.estimators_))


def test_arrays_forecast_what_the_trees_do() -> None:
    forest, _, _ = grown()
    asked = np.random.default_rng(1).standard_normal((700, 8)).astype(np.float32)
    gap = np.abs(MergedForest.of([flat(forest)]).mean(asked) - forest.predict(asked))
    # A threshold of half precision sends few rows another way; bytes round each leaf by 1 / 510 at most.
    assert np.quantile(gap, 0.95) < 0.01
    assert gap.max() < 0.1


def test_rows_forecast_alone_or_together_are_the_same() -> None:
    grove = MergedForest.of([flat(grown()[0])])
    asked = np.random.default_rng(2).standard_normal((300, 8)).astype(np.float32)
    whole = grove.mean(asked)
    np.testing.assert_array_equal(np.concatenate([grove.mean(asked[row : row + 1]) for row in range(300)]), whole)
    assert grove.mean(asked[:0]).shape == (0, 3)


def test_stump_says_its_mean() -> None:
    stump = Forest.stump([1, 4], 0.4)
    np.testing.assert_allclose(stump.values / LEVELS, 0.4, atol=1 / 510)
    assert stump.columns.tolist() == [1, 4]


def test_arrays_that_lead_astray_are_refused() -> None:
    arrays = flat(grown()[0]).arrays()
    inner = int(np.flatnonzero(arrays["right"])[0])
    for name, place, value, says in (
        ("right", inner, 10**6, "leads out"),
        ("right", inner, -1, "leads backwards"),
        ("roots", 0, 10**6, "leads out"),
    ):
        altered = {**arrays, name: arrays[name].copy()}
        altered[name][place] = value
        with pytest.raises(ValueError, match=says):
            Forest.of_arrays(altered)
    with pytest.raises(ValueError, match="values"):
        Forest.of_arrays({**arrays, "values": arrays["values"][1:]})
    with pytest.raises(ValueError, match="disagree in number"):
        Forest.of_arrays({**arrays, "feature": arrays["feature"][1:]})
    with pytest.raises(KeyError):
        Forest.of_arrays({})


@pytest.mark.slow
def test_candidates_observed_together_share_a_forest() -> None:
    table, views = drawn_table(groups=15)
    score = table.score.copy()
    score[30:, 2] = np.nan
    score[:20, 3] = np.nan
    trees = Trees.fit(replace(table, score=score), views)
    assert sorted(forest.columns.tolist() for forest in trees.grove.forests) == [[0, 1], [2], [3]]
    again = Trees.restore(trees.settings, trees.arrays(), trees.view_dims)
    np.testing.assert_array_equal(again.quality(views), trees.quality(views))
    twice = {**trees.arrays(), "forest1/columns": np.array([0], dtype=np.int32)}
    with pytest.raises(ValueError, match="each candidate once"):
        Trees.restore(trees.settings, twice, trees.view_dims)


def test_every_split_is_on_a_view_as_it_is() -> None:
    table, views = drawn_table(groups=15)
    trees = PlainTrees.fit(table, views)
    components = sum(view.axes.shape[1] for view in trees.reduced.views)
    (forest,) = trees.grove.forests
    assert (forest.feature[forest.right > 0] >= components).all()
    assert np.ptp(trees.quality(views), axis=0).min() > 0.02


def test_plain_trees_come_back_as_they_were_written() -> None:
    table, views = drawn_table(groups=15)
    trees = PlainTrees.fit(table, views)
    again = PlainTrees.restore(trees.settings, trees.arrays(), trees.view_dims)
    assert isinstance(again, PlainTrees)
    np.testing.assert_array_equal(again.quality(views), trees.quality(views))
