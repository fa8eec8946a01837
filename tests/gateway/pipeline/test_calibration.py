"""Calibration: what it learns from which replies, and when it rings."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pipeline.calibration import LARGEST_FACTOR, LEAST_FACTOR, Calibration, Drift
from gateway.pipeline.record import Attempt
from tests.fakes.records import record

NAMES = ("small", "large")


def calibration() -> tuple[Calibration, list[Drift]]:
    drifts: list[Drift] = []
    return Calibration(NAMES, drifts.append), drifts


def feed(one: Calibration, ratio: float, replies: int = 1, **changes: Any) -> None:
    """Replies that were billed `ratio` times what was estimated."""
    cost = round(1_000_000 * ratio)
    for _ in range(replies):
        one.observe(
            record(
                **{
                    "estimated_cost": 1_000_000,
                    "attempts": (Attempt("small", None, cost),),
                    "cost": cost,
                    "estimated_input_tokens": 100,
                    "input_tokens": 150,
                    "estimated_output_tokens": 40,
                    "output_tokens": 20,
                    **changes,
                }
            )
        )


def test_nothing_is_corrected_before_a_reply() -> None:
    one, _ = calibration()
    assert one.factors == {}
    assert one.ratios("cost") == {}
    assert one.drifting() == {"small": 0, "large": 0}


def test_ratios_are_of_cost_input_and_output_apart() -> None:
    one, _ = calibration()
    feed(one, 1.1, 50)
    assert one.ratios("cost") == pytest.approx({"small": 1.1})
    assert one.ratios("input") == pytest.approx({"small": 1.5})
    assert one.ratios("output") == pytest.approx({"small": 0.5})


def test_few_replies_correct_less_than_many() -> None:
    one, _ = calibration()
    feed(one, 2.0)
    first = one.factors["small"]
    feed(one, 2.0, 300)
    assert 1 < first < 1.1
    assert 1.7 < one.factors["small"] < 2


@given(st.lists(st.floats(0, 1_000), min_size=1, max_size=300))
def test_no_factor_leaves_its_limits(ratios: list[float]) -> None:
    one, _ = calibration()
    for ratio in ratios:
        feed(one, ratio)
    assert LEAST_FACTOR <= one.factors["small"] <= LARGEST_FACTOR


def test_expected_costs_are_right_in_total_once_they_are_corrected() -> None:
    """Lengths of every kind, billed 1.3 times the estimate on average: the corrected total is within 3%."""
    drawn = random.Random(7)
    one, _ = calibration()
    billed = corrected = 0.0
    for number in range(2_000):
        estimated = round(drawn.lognormvariate(12, 1))
        cost = round(estimated * drawn.lognormvariate(0.0, 0.7243))  # its mean is 1.3
        if number >= 300:
            billed += cost
            corrected += estimated * one.factors["small"]
        feed(one, 1.0, estimated_cost=estimated, attempts=(Attempt("small", None, cost),))
    assert corrected == pytest.approx(billed, rel=0.05)


@pytest.mark.parametrize(
    "changes",
    [
        {"metered": True},
        {"outcome": "cut_short"},
        {"outcome": "client_left"},
        {"candidate": None},
        {"candidate": "unknown"},
    ],
)
def test_replies_that_say_nothing_of_estimates_are_left_out(changes: dict[str, Any]) -> None:
    one, _ = calibration()
    feed(one, 9.0, **changes)
    assert one.ratios("input") == one.ratios("cost") == {}


def test_a_pinned_reply_tells_of_its_input_only() -> None:
    one, _ = calibration()
    feed(one, 9.0, forecast_quality=None, reason="pinned")
    assert one.ratios("input") == {"small": 1.5}
    assert one.ratios("cost") == one.ratios("output") == one.factors == {}


def test_what_was_spent_on_an_attempt_that_failed_is_no_ones_ratio() -> None:
    one, _ = calibration()
    feed(
        one, 1.0, attempts=(Attempt("large", "broke_off", 7_000_000), Attempt("small", None, 1_000_000)), cost=8_000_000
    )
    assert one.ratios("cost") == {"small": 1.0}


def test_a_free_candidate_has_a_ratio_of_tokens_only() -> None:
    one, _ = calibration()
    feed(one, 0.0, 200, estimated_cost=0)
    assert one.ratios("cost") == {}
    assert one.ratios("output") == pytest.approx({"small": 0.5})
    assert one.factors == {}


@pytest.mark.parametrize("ratio", [0.79, 1.26])
def test_a_drift_rings_once_a_hundred_replies_are_in_and_once_when_it_ends(ratio: float) -> None:
    one, drifts = calibration()
    feed(one, ratio, 99)
    assert not drifts
    feed(one, ratio, 400)
    assert [(drift.candidate, drift.began) for drift in drifts] == [("small", True)]
    assert drifts[0].ratio == pytest.approx(ratio)
    assert one.drifting() == {"small": 1, "large": 0}
    feed(one, 1.0, 400)
    assert [(drift.candidate, drift.began) for drift in drifts] == [("small", True), ("small", False)]
    assert one.drifting() == {"small": 0, "large": 0}


@pytest.mark.parametrize("ratio", [0.81, 1.0, 1.24])
def test_what_is_estimated_nearly_right_does_not_ring(ratio: float) -> None:
    one, drifts = calibration()
    feed(one, ratio, 1_000)
    assert not drifts


def test_a_ratio_at_the_edge_does_not_ring_again_and_again() -> None:
    one, drifts = calibration()
    for number in range(3_000):
        feed(one, 1.35 if number // 40 % 2 else 1.15)
    assert len(drifts) <= 1


def test_a_candidate_that_joins_is_learned_of_and_the_others_are_kept() -> None:
    one, _ = calibration()
    feed(one, 2.0, 30)
    joined = {"candidate": "new", "attempts": (Attempt("new", None, 500_000),)}
    feed(one, 0.5, **joined)
    assert set(one.factors) == {"small"}
    one.follow(["new", "small"])
    feed(one, 0.5, 30, **joined)
    assert one.ratios("cost") == pytest.approx({"small": 2.0, "new": 0.5})
