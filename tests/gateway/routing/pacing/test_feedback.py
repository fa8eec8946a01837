"""The ratio of actual to expected spend, and the burn rate."""

from __future__ import annotations

import json
import math

import pytest

from gateway.routing.pacing.feedback import Interval, SpendFeedback
from gateway.routing.pacing.settings import WindowPosition

START = 1_000_000.0


def standing(spent: int, starts_at: float = START, *, is_rolling: bool = False) -> WindowPosition:
    ends_at = None if is_rolling else starts_at + 86_400
    return WindowPosition("acme/day", 10**9, spent, 0, starts_at, ends_at, is_rolling)


def interval(requests: int, expected: int, charged: int = 0, *, has_refusals: bool = False) -> Interval:
    return Interval(requests, requests, requests * expected, requests * charged, has_refusals)


def watched(ratio: float, requests: int, first: float = 1.0) -> SpendFeedback:
    feedback = SpendFeedback(first, 500.0, 8.0)
    feedback.note(standing(0), Interval(), 0.0)
    for done in range(1, requests + 1):
        feedback.note(standing(round(done * 1_000 * ratio)), interval(1, 1_000), 10.0)
    return feedback


def test_first_guess_is_one_process() -> None:
    assert SpendFeedback(1.0, 500.0, 8.0).ratio == 1.0
    assert SpendFeedback(4.0, 500.0, 8.0).ratio == 4.0


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.3, 4.0])
def test_ratio_is_learned_from_the_ledger(ratio: float) -> None:
    assert watched(ratio, 2_000).ratio == pytest.approx(ratio, rel=0.05)


def test_a_few_requests_move_it_little() -> None:
    assert 1.0 < watched(3.0, 4).ratio < 1.5


def test_ratio_stays_within_its_range() -> None:
    assert watched(1_000.0, 2_000).ratio == 8.0
    assert watched(0.0, 5_000).ratio == 1 / 8
    assert watched(1_000.0, 2_000, first=4.0).ratio == 32.0


def test_other_processes_count() -> None:
    assert watched(4.0, 3_000).ratio == pytest.approx(4.0, rel=0.05)


def test_nothing_is_learned_while_holds_are_refused() -> None:
    feedback = watched(1.0, 1_000)
    before = feedback.ratio
    spent = 1_000_000
    for _ in range(500):  # only what is cheap still fits: little is spent for what was expected
        feedback.note(standing(spent), interval(10, 1_000, has_refusals=True), 10.0)
    assert feedback.ratio == before
    for done in range(1, 200):
        feedback.note(standing(spent + done * 1_000), interval(1, 1_000), 10.0)
    assert feedback.ratio == pytest.approx(1.0, rel=0.02)


def test_new_period_is_not_taken_for_a_refund() -> None:
    feedback = watched(1.0, 1_000)
    feedback.note(standing(0, START + 86_400), interval(200, 1_000), 10.0)
    feedback.note(standing(5_000, START + 86_400), interval(5, 1_000), 10.0)

    assert feedback.ratio == pytest.approx(1.0, rel=0.02)


def test_rolling_window_goes_by_what_was_charged_here() -> None:
    feedback = SpendFeedback(2.0, 500.0, 8.0)
    for _ in range(2_000):
        feedback.note(standing(7, is_rolling=True), interval(1, 1_000, 1_500), 10.0)

    assert feedback.ratio == pytest.approx(3.0, rel=0.02)  # two processes, each half again as dear as forecast


def test_burn_rate_is_spend_an_hour() -> None:
    assert watched(1.0, 2_000).burn_per_hour == pytest.approx(1_000 * 360, rel=0.01)


def test_first_second_does_not_make_a_burn_rate() -> None:
    feedback = SpendFeedback(1.0, 500.0, 8.0)
    feedback.note(standing(0), Interval(), 0.0)
    feedback.note(standing(1_000), interval(1, 1_000), 0.5)

    assert feedback.burn_per_hour == pytest.approx(60_000)


def test_state_outlives_a_restart() -> None:
    feedback, again = watched(1.7, 700), SpendFeedback(1.0, 500.0, 8.0)
    again.restore(json.loads(json.dumps(feedback.state())))

    assert again.ratio == feedback.ratio


@pytest.mark.parametrize("state", [[1.0], [1.0, 1.0, 0.0], [1.0, -1.0, 1.0], [math.nan, 1.0, 1.0], ["x", 1, 1]])
def test_state_that_is_none_is_refused(state: list[float]) -> None:
    with pytest.raises((TypeError, ValueError)):
        SpendFeedback(1.0, 500.0, 8.0).restore(state)
