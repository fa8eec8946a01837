"""Sharpness is learned where groups are many, and is 1 where they are few or agree with the forecasts."""

from __future__ import annotations

import numpy as np
import pytest

from routers.forecasting.sharpness import sharpened, sharpness

MEANS = np.full(3, 0.5)


def world(rows: int, stretch: float) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Forecasts, scores drawn from them once stretched, and a group a row."""
    random = np.random.default_rng(0)
    forecast = random.uniform(0.3, 0.7, (rows, 3))
    score = (random.random((rows, 3)) < sharpened(forecast, MEANS, stretch)).astype(np.float64)
    return forecast, score, [str(row) for row in range(rows)]


def test_factor_of_one_changes_nothing_and_two_doubles_the_logits() -> None:
    forecast = np.array([[0.2, 0.5, 0.9]])
    np.testing.assert_allclose(sharpened(forecast, MEANS, 1.0), forecast)
    np.testing.assert_allclose(sharpened(forecast, MEANS, 2.0), [[1 / 17, 0.5, 81 / 82]])


def test_stretch_is_found_where_rows_are_many() -> None:
    forecast, score, groups = world(20_000, 1.5)
    assert sharpness(forecast, MEANS, score, groups) == pytest.approx(1.5, abs=0.12)


def test_few_groups_teach_little() -> None:
    forecast, score, groups = world(60, 1.5)
    assert sharpness(forecast, MEANS, score, groups) == pytest.approx(1.0, abs=0.03)


def test_missing_cells_count_for_nothing() -> None:
    forecast, score, groups = world(4000, 1.3)
    twice, hidden = np.concatenate([forecast, forecast]), np.concatenate([score, np.full_like(score, np.nan)])
    known = sharpness(forecast, MEANS, score, groups)
    assert sharpness(twice, MEANS, hidden, [*groups, *(f"more {name}" for name in groups)]) == pytest.approx(known)


def test_forecasts_that_say_nothing_are_left_alone() -> None:
    _, score, groups = world(200, 1.0)
    assert sharpness(np.tile(MEANS, (200, 1)), MEANS, score, groups) == pytest.approx(1.0)
