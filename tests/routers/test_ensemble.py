"""The blend believes who forecasts well, part by part; the ensemble stands on all its members."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routers.blend import Blend
from routers.ensemble import MEMBERS, Ensemble
from tests.routers.synthetic import drawn_table


def world(rows: int = 4000, candidates: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True chances, their common part and the candidates' own, from 0 to 1 about a half."""
    random = np.random.default_rng(0)
    common = np.repeat(random.uniform(-0.3, 0.3, rows)[:, None], candidates, axis=1)
    own = random.uniform(-0.2, 0.2, (rows, candidates))
    own -= own.mean(axis=1, keepdims=True)
    score = (random.random((rows, candidates)) < 0.5 + common + own).astype(np.float64)
    return score, common, own


def test_member_that_knows_is_believed_and_noise_is_not() -> None:
    score, common, own = world()
    truth, noise = 0.5 + common + own, np.random.default_rng(1).uniform(0, 1, score.shape)
    blend = Blend.fit([noise, truth], score)
    assert blend.weights[:, 1].min() > 0.85
    assert blend.weights[:, 0].max() < 0.05


def test_parts_are_believed_apart() -> None:
    score, common, own = world()
    hard, apart = 0.5 + common, 0.5 + own
    blend = Blend.fit([hard, apart], score)
    found = blend.apply([hard, apart])
    assert np.mean((found - (0.5 + common + own)) ** 2) < 0.002
    assert blend.weights[0, 0] > 0.9
    assert blend.weights[1, 1] > 0.8


def test_departures_that_are_noise_are_left_out_and_the_difficulty_beside_them_is_not() -> None:
    score, common, own = world()
    noise = 0.5 * np.random.default_rng(3).standard_normal(score.shape)
    noisy = 0.5 + common + noise - noise.mean(axis=1, keepdims=True)
    blend = Blend.fit([noisy, 0.5 + own], score)
    assert blend.weights[0, 0] > 0.9
    assert blend.weights[1, 0] < 0.05


def test_difficulty_is_taken_from_those_who_may_say_it() -> None:
    score, common, own = world()
    knows, says_little = 0.5 + common + own, 0.5 + 0.3 * common
    weights = Blend.fit([knows, says_little], score, common=(1,)).weights
    assert weights[0, 0] == 0
    assert weights[0, 1] > 1
    assert weights[1, 0] > 0.9


def test_few_rows_leave_the_members_equal() -> None:
    score, common, own = world(rows=4)
    weights = Blend.fit([0.5 + common, 0.5 + own, 0.5 + common + own], score).weights
    assert weights.shape == (2, 3)
    assert (weights >= 0).all()


def test_missing_cells_teach_the_blend_nothing() -> None:
    score, common, own = world()
    hidden = score.copy()
    hidden[::2, 0] = np.nan
    forecasts = [0.5 + common, 0.5 + own]
    plain = Blend.fit(forecasts, hidden)
    np.testing.assert_allclose(plain.means[0], np.nanmean(hidden[:, 0]))
    gap = plain.apply(forecasts) - Blend.fit(forecasts, score).apply(forecasts)
    assert np.abs(gap).mean() < 0.03


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
