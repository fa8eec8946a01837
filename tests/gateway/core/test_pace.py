"""What a request makes of the paced lambda, and how a pace is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.decision import LARGEST_LAMBDA
from gateway.core.pace import Pace, scale_of, scaled


def test_quality_weight_scales_lambda() -> None:
    assert scaled(0.4, scale_of(0.5)) == 0.4
    assert scaled(0.4, scale_of(1.0)) == 0.0
    assert scaled(0.4, scale_of(0.2)) == pytest.approx(1.6)
    assert scaled(0.4, scale_of(0.0)) == scaled(0.0, scale_of(0.0)) == LARGEST_LAMBDA
    assert scaled(1e9, scale_of(1e-6)) == LARGEST_LAMBDA


def test_label_names_the_window_and_the_lambda() -> None:
    pace = Pace("acme/day", 0.12345, 100, 50, 40, 1.0, None)

    assert pace.label == "pace=0.1235@acme/day"
    assert replace(pace, saturated="short", is_capped=True).label == "pace=0.1235@acme/day:short:burst"
