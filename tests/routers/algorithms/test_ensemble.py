"""The ensemble stands on all its members, and comes back as it was written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routers.algorithms.ensemble import MEMBERS, Ensemble
from routers.forecasting.blend import HeldOut
from tests.fakes.synthetic import drawn_table


def test_trees_alone_say_how_hard_a_query_is_where_candidates_saw_different_ones() -> None:
    table, _ = drawn_table()
    random = np.random.default_rng(0)
    forecasts = [np.clip(table.score + random.normal(0, 0.3, table.score.shape), 0, 1) for _ in MEMBERS]
    means = np.tile(table.score.mean(axis=0), (len(table), 1))
    hidden = table.score.copy()
    hidden[::2, 0] = np.nan
    shares = []
    for score in (table.score, hidden):
        seen = replace(table, score=score)
        ensemble, held_out = Ensemble.blended([], HeldOut(forecasts, means, score, table.groups), seen)
        assert held_out.shape == score.shape
        shares.append(ensemble.blend.weights[0])
    trees = [member.algorithm for member in MEMBERS].index("extra_trees")
    assert 0.5 <= shares[0][trees] < 0.9
    assert shares[1][trees] == 1.0


@pytest.mark.slow
def test_ensemble_comes_back_as_it_was_written() -> None:
    table, views = drawn_table(groups=25)
    ensemble, held_out = Ensemble.fit_held_out(table, views)
    assert held_out.shape == table.score.shape
    assert [member.algorithm for member in ensemble.members] == [member.algorithm for member in MEMBERS]
    again = Ensemble.restore(ensemble.settings, ensemble.arrays(), ensemble.view_dims)
    np.testing.assert_array_equal(again.quality(views), ensemble.quality(views))
    with pytest.raises(ValueError, match="blend"):
        Ensemble.restore(ensemble.settings, {**ensemble.arrays(), "weights": np.ones((2, 9))}, ensemble.view_dims)
    with pytest.raises(ValueError, match="incumbent"):
        Ensemble.restore(ensemble.settings, {**ensemble.arrays(), "caution": np.array([9.0, 0])}, ensemble.view_dims)
    with pytest.raises(KeyError):
        Ensemble.restore({"members": {}}, ensemble.arrays(), ensemble.view_dims)


@pytest.mark.slow
def test_held_out_forecasts_of_the_ensemble_owe_nothing_to_a_rows_own_group_but_the_blend() -> None:
    table, views = drawn_table(groups=25)
    altered = table.score.copy()
    altered[:4] = 1 - altered[:4]
    _, before = Ensemble.fit_held_out(table, views)
    _, after = Ensemble.fit_held_out(replace(table, score=altered), views)
    own, rest = np.abs(after[:4] - before[:4]).mean(), np.abs(after[:4] - altered[:4]).mean()
    assert own < 0.05 < rest
