"""Plain trees ask for no principal component."""

from __future__ import annotations

import numpy as np

from routers.algorithms.extra_trees import PlainTrees
from tests.fakes.synthetic import drawn_table


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
