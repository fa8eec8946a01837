"""The breaker: rests after failures in a row, then lets one attempt prove the candidate well."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.breaker import Breaker


def failing(times: int, now: float = 0.0) -> Breaker:
    breaker = Breaker(failures=3, rest_s=10.0)
    for _ in range(times):
        breaker.begin(now)
        breaker.failed(now)
    return breaker


def test_stays_closed_below_the_count_of_failures() -> None:
    assert failing(2).allows(0.0)


def test_rests_after_failures_in_a_row() -> None:
    breaker = failing(3)
    assert not breaker.allows(0.0)
    assert not breaker.allows(9.999)
    assert breaker.allows(10.0)


def test_a_success_starts_the_count_again() -> None:
    breaker = failing(2)
    breaker.succeeded()
    breaker.failed(0.0)
    breaker.failed(0.0)
    assert breaker.allows(0.0)


def test_only_one_attempt_at_a_time_may_prove_it_well() -> None:
    breaker = failing(3)
    assert breaker.allows(10.0)
    breaker.begin(10.0)
    assert not breaker.allows(10.0)
    breaker.succeeded()
    assert breaker.allows(10.0)


def test_a_failed_trial_makes_it_rest_again() -> None:
    breaker = failing(3)
    breaker.begin(10.0)
    breaker.failed(12.0)
    assert not breaker.allows(21.9)
    assert breaker.allows(22.0)


def test_a_trial_that_never_ends_does_not_close_the_door_for_ever() -> None:
    breaker = failing(3)
    breaker.begin(10.0)
    assert not breaker.allows(19.9)
    assert breaker.allows(20.0)


def test_asking_takes_no_trial() -> None:
    breaker = failing(3)
    assert all(breaker.allows(10.0) for _ in range(5))


@given(st.lists(st.tuples(st.sampled_from(["begin", "failed", "succeeded"]), st.floats(0, 100)), max_size=40))
def test_always_opens_again_after_a_rest(steps: list[tuple[str, float]]) -> None:
    breaker, now = Breaker(failures=3, rest_s=10.0), 0.0
    in_a_row = 0
    for name, pause in steps:
        now += pause
        if name == "succeeded":
            breaker.succeeded()
            in_a_row = 0
        else:
            getattr(breaker, name)(now)
            in_a_row += name == "failed"
        assert breaker.allows(now) or in_a_row >= 3
        assert breaker.allows(now + 10.0)
