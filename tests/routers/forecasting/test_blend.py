"""The blend believes who forecasts well, part by part, and nobody for a lead that other groups would have turned."""

from __future__ import annotations

import numpy as np
import pytest

from routers.forecasting.blend import Blend, HeldOut


def world(rows: int = 4000, candidates: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, and the common part and the candidates' own of their true chances, about a half."""
    random = np.random.default_rng(0)
    common = np.repeat(random.uniform(-0.3, 0.3, rows)[:, None], candidates, axis=1)
    own = random.uniform(-0.2, 0.2, (rows, candidates))
    own -= own.mean(axis=1, keepdims=True)
    score = (random.random((rows, candidates)) < 0.5 + common + own).astype(np.float64)
    return score, common, own


def held_out(forecasts: list[np.ndarray], score: np.ndarray, groups: int = 400) -> HeldOut:
    names = [f"g{row % groups}" for row in range(len(score))]
    return HeldOut(forecasts, np.tile(np.nanmean(score, axis=0), (len(score), 1)), score, names)


def test_member_that_knows_is_believed_and_noise_is_not() -> None:
    score, common, own = world()
    truth, noise = 0.5 + common + own, np.random.default_rng(1).uniform(0, 1, score.shape)
    blend = Blend.fit(held_out([noise, truth], score))
    assert blend.weights[:, 1].min() > 0.95
    np.testing.assert_allclose(blend.weights.sum(axis=1), 1.0)
    assert blend.sharpness == pytest.approx(1.0, abs=0.05)


def test_parts_are_believed_apart() -> None:
    score, common, own = world()
    hard, apart = 0.5 + common, 0.5 + own
    blend = Blend.fit(held_out([hard, apart], score))
    found = blend.apply([hard, apart])
    assert np.mean((found - (0.5 + common + own)) ** 2) < 0.002
    assert blend.weights[0, 0] > 0.9
    assert blend.weights[1, 1] > 0.8


def test_difficulty_is_taken_from_those_who_may_say_it_and_half_from_the_trusted() -> None:
    score, common, own = world()
    knows, says_little = 0.5 + common + own, 0.5 + 0.3 * common
    weights = Blend.fit(held_out([knows, says_little], score), common=(1,)).weights
    assert weights[0].tolist() == [0.0, 1.0]
    assert weights[1, 0] > 0.9
    halved = Blend.fit(held_out([knows, says_little], score), common=(0,), trusted=1).weights
    assert halved[0].tolist() == [0.5, 0.5]


def test_few_groups_leave_a_small_lead_unsettled() -> None:
    own = np.tile([0.3, -0.3, 0.1, -0.1], (400, 1))
    uneven = np.where(np.arange(400) % 4 == 3, 0.3, 0.0)[:, None] * [1, 1, -1, -1]
    even = 0.17 * np.ones((400, 1)) * [1, 1, -1, -1]
    forecasts = [0.5 + own + uneven, 0.5 + own + even]
    means, score = np.full((400, 4), 0.5), 0.5 + own
    few = Blend.fit(HeldOut(forecasts, means, score, [str(row % 4) for row in range(400)])).weights[:, 0]
    many = Blend.fit(HeldOut(forecasts, means, score, [str(row) for row in range(400)])).weights[:, 0]
    assert 0.5 < few.max() < 0.9
    assert many.max() > 0.95


def test_blunt_forecasts_are_sharpened() -> None:
    score, common, own = world(rows=8000)
    blend = Blend.fit(held_out([0.5 + 0.6 * (common + own)], score, groups=8000))
    assert 1.1 < blend.sharpness < 1.8


def test_missing_cells_teach_the_blend_nothing() -> None:
    score, common, own = world()
    hidden = score.copy()
    hidden[::2, 0] = np.nan
    forecasts = [0.5 + common, 0.5 + own]
    plain = Blend.fit(held_out(forecasts, hidden))
    np.testing.assert_allclose(plain.means[0], np.nanmean(hidden[:, 0]))
    gap = plain.apply(forecasts) - Blend.fit(held_out(forecasts, score)).apply(forecasts)
    assert np.abs(gap).mean() < 0.03


def test_departures_are_from_the_means_that_members_saw() -> None:
    score, _, own = world(rows=40)
    # Members that say the mean of the other rows know nothing; measured from all rows' mean they would look perverse.
    others = (score.sum(axis=0) - score) / (len(score) - 1)
    blend = Blend.fit(HeldOut([others, 0.5 + own], others, score, [str(row) for row in range(40)]))
    assert np.allclose(blend.apply([others, others], others), np.clip(others, 0.005, 0.995))


def test_a_query_counts_alike_however_many_candidates_saw_it() -> None:
    # Two tables of 200 queries: one member knows how hard those of the first are, which all candidates saw.
    common = np.repeat(np.random.default_rng(4).uniform(-0.3, 0.3, (400, 1)), 6, axis=1)
    score, means = 0.5 + common, np.full((400, 6), 0.5)
    score[200:, 2:] = np.nan
    first, second = means.copy(), means.copy()
    first[:200], second[200:] = 0.5 + common[:200], 0.5 + common[200:]
    weights = Blend.fit(HeldOut([first, second], means, score, [str(row) for row in range(400)])).weights
    assert 0.1 < weights[0, 0] < 0.9
