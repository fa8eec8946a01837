"""Limits of a forecast: what held-out forecasts showed, and never certainty."""

from __future__ import annotations

import numpy as np
import pytest

from routers.forecasting.calibration import QUALITY_FLOOR, Calibration


def test_no_forecast_goes_beyond_what_held_out_ones_showed() -> None:
    held_out = np.array([[0.3, 0.5], [0.6, 0.7], [0.4, 0.6]])
    calibration = Calibration.fit(held_out, np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]))
    found = calibration.apply(np.array([[-9.0, 0.55], [9.0, 9.0]]))
    assert found.tolist() == [[0.3, 0.55], [0.6, 0.7]]


def test_nothing_is_certain() -> None:
    calibration = Calibration.fit(np.array([[-3.0], [4.0]]), np.array([[0.0], [1.0]]))
    assert calibration.apply(np.array([[-3.0], [4.0]]))[:, 0].tolist() == [QUALITY_FLOOR, 1 - QUALITY_FLOOR]


def test_cells_that_were_not_observed_say_nothing() -> None:
    held_out = np.array([[0.3, 0.9], [0.6, 0.5], [0.4, 0.6]])
    calibration = Calibration.fit(held_out, np.array([[0.0, np.nan], [1.0, 1.0], [0.0, 0.0]]))
    np.testing.assert_allclose(calibration.quality_high, [0.6, 0.6])


def test_stored_limits_of_other_candidates_are_refused() -> None:
    arrays = {"quality_low": np.zeros(3), "quality_high": np.ones(2)}
    with pytest.raises(ValueError, match="quality_high"):
        Calibration.restore(arrays, 3)
    with pytest.raises(KeyError):
        Calibration.restore({"quality_low": np.zeros(3)}, 3)
