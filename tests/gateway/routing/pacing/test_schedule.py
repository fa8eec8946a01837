"""Plans: what share of a window's money is meant to be spent by when."""

from __future__ import annotations

import json
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.pacing.schedule import HOUR_S, WEEK_HOURS, UniformPlan, WeekShape, share

WEEK_S = WEEK_HOURS * HOUR_S
START = 1_000 * WEEK_S

moments = st.floats(0, 4e9)


def daily(hour: int) -> float:
    """Traffic that is 1.9 of the mean at its height, 0.1 at its lowest."""
    return 1 - 0.9 * math.cos(2 * math.pi * hour / 24)


def taught(hours: int, rate: float = 200.0, weekend: float = 1.0) -> WeekShape:
    shape = WeekShape()
    for hour in range(hours):
        quiet = weekend if hour % WEEK_HOURS >= 120 else 1.0
        count = round(rate * daily(hour) * quiet)
        for number in range(count):
            shape.note(START + (hour + number / count) * HOUR_S)
    return shape


def test_uniform_plan_spends_half_by_the_middle() -> None:
    plan = UniformPlan()

    assert share(plan, 100.0, 300.0, 200.0) == 0.5
    assert share(plan, 100.0, 300.0, 50.0) == 0.0
    assert share(plan, 100.0, 300.0, 300.0) == share(plan, 100.0, 300.0, 999.0) == 1.0
    assert share(plan, 100.0, 100.0, 100.0) == 1.0


@given(moments, moments, moments)
def test_hours_add_up(first: float, second: float, third: float) -> None:
    a, b, c = sorted((first, second, third))
    for plan in (UniformPlan(), taught(0)):
        assert plan.hours(a, b) + plan.hours(b, c) == pytest.approx(plan.hours(a, c), abs=1e-6)
        assert plan.hours(b, a) == 0.0 or a == b


def test_untaught_shape_is_uniform() -> None:
    shape = WeekShape()

    assert not shape.is_learned
    assert shape.hours(START + 17.0, START + 99_999.0) == pytest.approx(UniformPlan().hours(17.0, 99_999.0))


def test_shape_is_uniform_until_a_whole_day_was_watched() -> None:
    shape = taught(24)  # the first hour counts only if it was watched from its beginning: it was not

    assert not shape.is_learned
    assert set(shape.factors()) == {1.0}


def test_one_day_teaches_every_day_of_the_week() -> None:
    shape = taught(26)

    assert shape.is_learned
    factors = shape.factors()
    assert math.fsum(factors) / len(factors) == pytest.approx(1.0)
    for hour in (4, 12, 24 * 5 + 12):
        assert factors[hour] == pytest.approx(daily(hour), abs=0.1)


def test_weeks_teach_quiet_weekends() -> None:
    factors = taught(6 * WEEK_HOURS, weekend=0.4).factors()

    weekday, weekend = sum(factors[:120]) / 120, sum(factors[120:]) / 48
    assert weekend / weekday == pytest.approx(0.4, abs=0.12)


def test_learned_plan_spends_as_traffic_goes() -> None:
    shape = taught(WEEK_HOURS)
    day = START + 40 * WEEK_S

    night = share(shape, day, day + 24 * HOUR_S, day + 6 * HOUR_S)
    wanted = sum(daily(hour) for hour in range(6)) / 24
    assert night == pytest.approx(wanted, abs=0.03)
    assert night < 0.15


def test_few_requests_teach_little() -> None:
    random = Random(5)
    shape = WeekShape()
    for hour in range(4 * WEEK_HOURS):
        for _ in range(random.randrange(3)):
            shape.note(START + (hour + 0.5) * HOUR_S)
    shape.note(START + (4 * WEEK_HOURS + 1) * HOUR_S)

    assert min(shape.factors()) > 0.7
    assert max(shape.factors()) < 1.4


def test_doubled_traffic_does_not_change_the_shape() -> None:
    before, shape = taught(WEEK_HOURS).factors(), taught(WEEK_HOURS)
    for hour in range(WEEK_HOURS, 2 * WEEK_HOURS):
        for number in range(round(400 * daily(hour))):
            shape.note(START + (hour + number / 1_000) * HOUR_S)

    assert all(abs(new - old) < 0.35 for new, old in zip(shape.factors(), before, strict=True))


def test_long_silence_and_a_clock_set_back_teach_nothing() -> None:
    shape = taught(WEEK_HOURS)
    shape.note(START + (WEEK_HOURS + 0.5) * HOUR_S)
    known = shape.factors()
    later = START + 30 * WEEK_S
    shape.note(later)
    after_silence = shape.factors()
    shape.note(later - 5 * HOUR_S)
    shape.note(later - 3.5 * HOUR_S)

    assert max(abs(new - old) for new, old in zip(after_silence, known, strict=True)) < 0.05
    assert shape.factors() == after_silence


def test_state_outlives_a_restart() -> None:
    shape = taught(WEEK_HOURS)
    again = WeekShape.restore(json.loads(json.dumps(shape.state())))

    assert again.factors() == shape.factors()
    assert again.is_learned


def test_half_a_day_before_a_restart_is_not_lost() -> None:
    again = WeekShape.restore(json.loads(json.dumps(taught(13).state())))
    assert not again.is_learned
    for hour in range(36, 62):
        for number in range(round(200 * daily(hour))):
            again.note(START + (hour + number / 1_000) * HOUR_S)

    assert again.is_learned
    assert again.factors()[12] == pytest.approx(daily(12), abs=0.15)


@pytest.mark.parametrize(
    "change",
    [{"day": [1.0] * 23}, {"week": [math.nan] * WEEK_HOURS}, {"day": None}, {"first_day": [1]}, {"level": "much"}],
)
def test_state_that_is_none_is_refused(change: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        WeekShape.restore(WeekShape().state() | change)
