"""Nearest neighbours: what the memory keeps, who is near, and how far a neighbour is believed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routers.algorithms.knn import Knn
from routers.algorithms.shrunken_knn import KernelSettings, ShrunkenKnn
from routers.base import Views
from routers.numeric.neighbours import Memory
from tests.fakes.synthetic import drawn_table


def two_places() -> tuple[np.ndarray, Views]:
    """Forty queries at one place, where the first candidate wins, and forty at another, where it loses."""
    random = np.random.default_rng(0)
    text = np.repeat(np.eye(2, 5), 40, axis=0) + 0.05 * random.standard_normal((80, 5))
    score = np.stack([np.repeat([1.0, 0.0], 40), np.repeat([0.0, 1.0], 40)], axis=1)
    return score, {"text": text.astype(np.float32), "image": random.standard_normal((80, 6)).astype(np.float32)}


def asked(views: Views, row: int) -> Views:
    return {name: rows[[row]] for name, rows in views.items()}


def test_nearest_queries_say_who_wins() -> None:
    score, views = two_places()
    quality = Knn(Memory.fit(score, views), neighbours=10).quality(views)
    assert quality[:40, 0].min() > 0.9
    assert quality[40:, 0].max() < 0.1


def test_more_neighbours_than_there_are_give_the_means() -> None:
    score, views = two_places()
    quality = Knn(Memory.fit(score, views), neighbours=500).quality(views)
    np.testing.assert_allclose(quality, 0.5, atol=0.01)


def test_neighbours_that_did_not_see_a_candidate_leave_it_at_its_mean() -> None:
    score, views = two_places()
    score[:40, 0] = np.nan
    memory = Memory.fit(score, views)
    near = Knn(memory, neighbours=10).quality(asked(views, 0))
    assert near[0, 0] == pytest.approx(memory.means[0], abs=1e-6)
    assert memory.means[0] < 0.05


def test_imagined_outcomes_draw_a_forecast_to_the_mean() -> None:
    score, views = two_places()
    memory = Memory.fit(score, views)
    pulls = (0.01, 5.0, 500.0)
    own = [ShrunkenKnn(memory, KernelSettings(0.2, 1.0, pull)).quality(asked(views, 0))[0, 0] for pull in pulls]
    assert own[0] > 0.9
    assert own[0] > own[1] > own[2] > 0.5
    assert own[2] == pytest.approx(0.5, abs=0.1)


def test_query_far_from_all_that_was_seen_gets_the_means() -> None:
    score, views = two_places()
    far = {name: 1000 * rows[:1] for name, rows in views.items()}
    quality = ShrunkenKnn(Memory.fit(score, views), KernelSettings(0.1, 1.0, 1.0)).quality(far)
    np.testing.assert_allclose(quality, 0.5, atol=0.01)


def test_text_is_weighed_double() -> None:
    score, views = two_places()
    rows = Memory.fit(score, views).rows(views)
    text = rows[:, :5]
    assert (text**2).sum() == pytest.approx(2 * (rows[:, 5:] ** 2).sum(), rel=0.01)
    assert (rows**2).sum(axis=1).mean() == pytest.approx(1.0, rel=0.01)


def test_memory_comes_back_as_it_was_kept() -> None:
    table, views = drawn_table(missing=0.3)
    memory = Memory.fit(table.score, views)
    arrays = memory.arrays()
    assert arrays["points"].dtype == np.float16
    restored = Memory.restore(arrays, memory.space.view_dims)
    for name in ("points", "residuals", "seen"):
        np.testing.assert_array_equal(getattr(restored, name), getattr(memory, name))
    with pytest.raises(ValueError, match="points"):
        Memory.restore({**arrays, "points": arrays["points"][:, 1:]}, memory.space.view_dims)
    with pytest.raises(ValueError, match="seen"):
        Memory.restore({**arrays, "seen": arrays["seen"][1:]}, memory.space.view_dims)


def test_what_cross_validation_chose_stands_in_the_settings() -> None:
    table, views = drawn_table()
    head, held_out = Knn.fit_held_out(table, views)
    assert head.settings == {"chosen_neighbours": head.neighbours}
    assert held_out.shape == table.score.shape
    kernel = ShrunkenKnn.fit(table, views)
    again = ShrunkenKnn.restore(kernel.settings, kernel.arrays(), kernel.view_dims)
    np.testing.assert_array_equal(again.quality(views), kernel.quality(views))
    with pytest.raises(ValueError, match="positive"):
        ShrunkenKnn.restore({**kernel.settings, "chosen_own": 0.0}, kernel.arrays(), kernel.view_dims)
    with pytest.raises(ValueError, match="neighbours"):
        Knn.restore({"chosen_neighbours": 0}, head.arrays(), head.view_dims)


def test_noise_is_answered_with_the_means() -> None:
    table, views = drawn_table(groups=100)
    random = np.random.default_rng(9)
    noise = {name: random.standard_normal(rows.shape).astype(np.float32) for name, rows in views.items()}
    coin = replace(table, score=(random.random(table.score.shape) < 0.5).astype(np.float64))
    _, held_out = ShrunkenKnn.fit_held_out(coin, noise)
    assert np.mean((held_out - coin.score) ** 2) < 0.26
