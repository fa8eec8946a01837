"""The breaker: rests after failures in a row, then lets one attempt prove the candidate well."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import REQUEST_FAULTS, Fault, ProviderError
from gateway.routing.circuit_breaker import Breaker, Health, Rest, always_well

BROKEN = ProviderError("p: reset", reason="broke_off")


def refused(fault: Fault, retry_after_s: float | None = None) -> ProviderError:
    """A provider's refusal."""
    status = 429 if fault == "rate_limit" else 400
    return ProviderError("p said no", reason="http", status=status, fault=fault, retry_after_s=retry_after_s)


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


def test_five_failures_open_it_for_ten_seconds() -> None:
    breaker = Breaker()
    for _ in range(5):
        assert breaker.allows(0.0)
        breaker.failed(0.0)
    assert (breaker.allows(9.99), breaker.allows(10.0)) == (False, True)


def in_trouble(times: int = 5) -> Health:
    """The health of `a`, which failed so often at 0, and of `b`, which did not."""
    health = Health(("a", "b"))
    for _ in range(times):
        health.begin("a", 0.0)
        health.failed("a", 0.0, BROKEN)
    return health


def allowed(health: Health, now: float) -> str:
    """Which of the two may be tried."""
    is_well = health.at(now)
    return "".join(name for name in "ab" if is_well(name))


def test_while_nobody_failed_everybody_is_well_and_nobody_is_looked_up() -> None:
    health = Health(("a", "b"))
    health.begin("a", 0.0)
    health.served("a", 1e9)
    assert health.at(0.0) is always_well
    assert allowed(health, 0.0) == "ab"
    assert always_well("whoever")


def test_who_failed_often_rests_and_the_others_go_on() -> None:
    assert allowed(in_trouble(4), 0.0) == "ab"
    assert [allowed(in_trouble(5), now) for now in (0.0, 9.99, 10.0)] == ["b", "b", "ab"]


def test_a_success_in_between_starts_the_count_again() -> None:
    health = in_trouble(4)
    health.served("a", 1e9)
    health.failed("a", 0.0, BROKEN)
    assert allowed(health, 0.0) == "ab"


def test_after_its_rest_one_attempt_at_a_time_is_let_through_until_it_succeeds() -> None:
    health = in_trouble()
    health.begin("b", 10.0)
    assert allowed(health, 10.0) == "ab"
    health.begin("a", 10.0)
    assert allowed(health, 10.0) == "b"
    health.served("a", 1e9)
    assert health.at(11.0) is always_well


def test_an_attempt_that_fails_after_the_rest_begins_another() -> None:
    health = in_trouble()
    health.begin("a", 10.0)
    health.failed("a", 12.0, BROKEN)
    assert [allowed(health, now) for now in (21.9, 22.0)] == ["b", "ab"]


def test_one_that_recovers_leaves_the_others_resting() -> None:
    health = in_trouble()
    for _ in range(5):
        health.failed("b", 0.0, BROKEN)
    health.served("a", 1e9)
    assert allowed(health, 0.0) == "a"


def test_trouble_of_the_past_is_forgotten_with_a_success() -> None:
    health = in_trouble()
    health.served("a", 1e9)
    for _ in range(4):
        health.failed("a", 10.0, BROKEN)
    assert allowed(health, 10.0) == "ab"


def test_a_refused_request_says_nothing_of_its_candidate() -> None:
    health = Health(("a", "b"))
    for fault in sorted(str(each) for each in REQUEST_FAULTS) * 5:
        health.failed("a", 0.0, refused(fault))  # type: ignore[arg-type]
    assert health.at(0.0) is always_well
    troubled = in_trouble(4)
    troubled.failed("a", 0.0, refused("invalid"))
    troubled.failed("a", 0.0, BROKEN)
    assert allowed(troubled, 0.0) == "b", "the fifth failure, with a refusal in between"


def test_a_refused_trial_lets_the_next_one_through() -> None:
    health = in_trouble()
    health.begin("a", 10.0)
    assert allowed(health, 10.0) == "b"
    health.failed("a", 10.0, refused("unsupported"))
    assert allowed(health, 10.0) == "ab"


def test_after_a_rate_limit_it_rests_as_long_as_the_provider_asks() -> None:
    for asked, rests in ((27.0, 27.0), (None, 5.0), (0.0, 0.0), (9e9, 3_600.0)):
        health = Health(("a", "b"))
        health.failed("a", 100.0, refused("rate_limit", asked))
        assert not rests or allowed(health, 100.0 + rests - 0.01) == "b"
        assert allowed(health, 100.0 + rests) == "ab"
        health.served("a", 1e9)
        assert health.at(100.0) is always_well


def test_a_fault_of_the_operators_makes_it_rest_longer_each_time_until_a_probe_succeeds() -> None:
    health, now = Health(("a", "b")), 0.0
    for rests in (30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0):
        health.failed("a", now, refused("account"))
        assert allowed(health, now + rests - 0.01) == "b"
        now += rests
        assert allowed(health, now) == "ab"
        health.begin("a", now)
        assert allowed(health, now) == "b", "one probe at a time"
    health.served("a", 1e9)
    health.failed("a", now, refused("account"))
    assert allowed(health, now + 30.0) == "ab"


def test_who_rests_is_shown_with_the_reason_and_the_time_left() -> None:
    health = in_trouble()
    health.failed("b", 2.0, refused("account"))
    assert health.resting(4.0) == {"a": Rest(None, "p: reset", 6.0), "b": Rest("account", "p said no", 28.0)}
    assert health.resting(10.0).keys() == {"b"}
    health.served("b", 1e9)
    assert not health.resting(10.0)


def test_refusals_that_were_under_way_together_are_one_and_the_longest_rest_is_bounded() -> None:
    health = Health(("a", "b"))
    for _ in range(6):
        health.failed("a", 0.0, refused("account"))
    assert [allowed(health, now) for now in (29.9, 30.0)] == ["b", "ab"]
    now = 0.0
    for _ in range(1_100):
        now += 1_000.0
        health.failed("a", now, refused("account"))
    assert [allowed(health, now + rests) for rests in (599.9, 600.0)] == ["b", "ab"]


def test_a_success_that_began_before_a_rest_does_not_end_it() -> None:
    health = Health(("a", "b"))
    health.failed("a", 10.0, refused("rate_limit", 60.0))
    health.served("a", 9.0)
    assert allowed(health, 20.0) == "b"
    health.served("a", 11.0)
    assert health.at(20.0) is always_well


def test_after_a_rate_limits_rest_all_attempts_are_let_through() -> None:
    health = Health(("a", "b"))
    health.failed("a", 0.0, refused("rate_limit", 2.0))
    assert allowed(health, 1.9) == "b"
    for _ in range(3):
        health.begin("a", 2.0)
        assert allowed(health, 2.0) == "ab"
