"""How many requests to expect."""

from __future__ import annotations

import json
import math

import pytest

from gateway.routing.pacing.schedule import UniformPlan
from gateway.routing.pacing.traffic import TrafficForecast

HOUR = 3_600.0
PLAN = UniformPlan()


def watched(hours: int, per_hour: int, arrivals: TrafficForecast | None = None) -> TrafficForecast:
    arrivals = arrivals or TrafficForecast()
    for _ in range(hours * 6):
        arrivals.note(per_hour // 6, 600.0, PLAN.hours(0, 600.0))
    return arrivals


def test_nothing_is_known_before_time_was_watched() -> None:
    arrivals = TrafficForecast()
    arrivals.note(5, 0.0, 0.0)

    assert not arrivals.is_known
    assert arrivals.expected(PLAN, 0.0, 10 * HOUR) == 1.0


def test_steady_traffic_is_expected_to_go_on() -> None:
    assert watched(2, 60).expected(PLAN, 0.0, 10 * HOUR) == pytest.approx(600)
    assert watched(200, 60).expected(PLAN, 0.0, 10 * HOUR) == pytest.approx(600)


def test_at_least_one_request_is_expected() -> None:
    assert watched(2, 60).expected(PLAN, 10.0, 10.0) == 1.0
    assert watched(2, 60).expected(PLAN, 10.0, 5.0) == 1.0
    assert watched(2, 0).expected(PLAN, 0.0, HOUR) == 1.0


def test_step_is_followed_soon_for_the_next_hour_and_within_days_for_the_rest() -> None:
    arrivals = watched(240, 60)
    watched(2, 120, arrivals)
    assert arrivals.expected(PLAN, 0.0, HOUR) == pytest.approx(120, rel=0.1)
    assert 60 * 240 * 1.05 < arrivals.expected(PLAN, 0.0, 240 * HOUR) < 60 * 240 * 1.5
    watched(72, 120, arrivals)
    assert arrivals.expected(PLAN, 0.0, 240 * HOUR) == pytest.approx(120 * 240, rel=0.1)


def test_burst_of_ten_minutes_is_not_taken_for_the_rest_of_the_month() -> None:
    arrivals = watched(240, 60)
    arrivals.note(200, 600.0, PLAN.hours(0, 600.0))

    assert arrivals.expected(PLAN, 0.0, 700 * HOUR) < 60 * 700 * 1.3


def test_how_time_is_cut_does_not_matter() -> None:
    fine, coarse = TrafficForecast(), TrafficForecast()
    for _ in range(120):
        fine.note(10, 60.0, 60 / HOUR)
    coarse.note(1_200, 7_200.0, 2.0)

    assert fine.expected(PLAN, 0, HOUR) == pytest.approx(coarse.expected(PLAN, 0, HOUR))


def test_state_outlives_a_restart() -> None:
    arrivals = watched(30, 60)
    again = TrafficForecast.restore(json.loads(json.dumps(arrivals.state())))

    assert again.expected(PLAN, 0, 9 * HOUR) == arrivals.expected(PLAN, 0, 9 * HOUR)


@pytest.mark.parametrize("state", [[[1.0, 1.0]], [[1.0, 1.0], [-1.0, 1.0]], [[1.0, math.nan], [1.0, 1.0]], None])
def test_state_that_is_none_is_refused(state: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        TrafficForecast.restore(state)
