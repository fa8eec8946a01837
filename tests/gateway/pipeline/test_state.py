"""The turn: its headers as far as they are known, and the record it leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.billing.reservation import Grant, OverLimit
from gateway.billing.usage import Usage
from gateway.billing.window import Budget, Window
from gateway.errors import ProviderFailure, QuotaError
from gateway.pipeline.record import Attempt
from gateway.pipeline.state import RequestState
from gateway.routing.capabilities import ASSUMED
from gateway.routing.decision import CandidateForecast, Decision, Preference, decide
from gateway.routing.exploration import Exploration, draw
from gateway.tenants.tenant import Tenant
from tests.fakes.clock import HandClock
from tests.fakes.requests import a_request
from tests.gateway.billing.makers import candidate

STARTED_AT = 1_767_268_800.0


def a_turn(budget: Budget | None = None, clock: HandClock | None = None) -> RequestState:
    """A request that came at 0 of its clock."""
    tenant = Tenant("acme", ("a",), 0.8, budgets=(budget,) if budget else ())
    return RequestState("req_1", tenant, a_request(budget=b"1"), 0.0, STARTED_AT, clock or HandClock())


def decided(
    state: RequestState, remaining: int | None = 700, *, is_healthy: Callable[[str], bool] = lambda name: name == "a"
) -> RequestState:
    state.reason = "routed"
    state.preference = Preference(0.25, state.request.cap)
    forecasts = {"a": CandidateForecast(0.625, 0.1, 100, 200), "b": CandidateForecast(0.5, 0.1, 100, 200)}
    state.decision = decide(
        state.request.query,
        [candidate("a"), candidate("b", calls_tools=False)],
        forecasts,
        state.preference,
        reference_cost=1,
        is_healthy=is_healthy,
    )
    state.chosen(state.decision.choices[0], Grant(300, remaining))
    return state


def headers(state: RequestState, exact_cost: int | None = None) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in state.headers(exact_cost)}


def test_a_refusal_before_the_decision_still_has_an_id_and_a_reason() -> None:
    assert headers(a_turn()) == {"x-request-id": "req_1", "x-route-reason": "unrouted"}


def test_the_record_says_how_long_the_stages_took_and_what_the_dearest_would_have_cost() -> None:
    state = a_turn()
    state.parse_s, state.decide_s, state.reserve_s = 0.25, 0.5, 0.75
    refused = state.record("digest")
    assert (refused.parse_s, refused.decide_s, refused.reserve_s, refused.dearest_cost) == (0.25, 0.5, 0.75, 0)
    decided(state)
    assert state.decision is not None
    served = state.record("digest")
    assert served.dearest_cost == max(row.expected_cost for row in state.decision.choices) > 0


def test_before_the_bill_the_expected_cost_stands() -> None:
    state = decided(a_turn())
    assert state.choice is not None
    found = headers(state)
    assert found["x-route-candidate"] == "a"
    assert found["x-route-quality"] == "0.6250"
    assert float(found["x-route-cost"]) == state.choice.expected_cost / 1e9
    assert found["x-budget-remaining"] == "0.0000007"


def test_after_the_bill_cost_and_budget_are_exact() -> None:
    state = decided(a_turn())
    state.cost = 120
    found = headers(state, state.cost)
    assert found["x-route-cost"] == "0.00000012"
    assert found["x-budget-remaining"] == "0.00000088"  # 700 left beside a hold of 300, of which 120 were spent


def test_a_fallback_is_named_only_where_another_was_tried() -> None:
    state = decided(a_turn())
    state.attempts, state.tries = [Attempt("a", "http_400", 0)], 1
    assert state.route_reason() == "routed"
    state.tries = 2
    assert state.route_reason() == "routed;fallback=a:http_400"
    state.is_pinned = True
    assert state.route_reason() == "routed;retry=a:http_400"


def test_a_tenant_without_a_budget_is_told_of_none() -> None:
    assert "x-budget-remaining" not in headers(decided(a_turn(), remaining=None))


def test_a_bill_over_the_budget_leaves_nothing_and_not_less() -> None:
    state = decided(a_turn(), remaining=0)
    assert headers(state, 5_000)["x-budget-remaining"] == "0"


def test_failed_attempts_stand_in_the_reason() -> None:
    state = decided(a_turn())
    state.attempts = [Attempt("x", "http_503", 0), Attempt("y", "connection_failed", 0), Attempt("a", None, 5)]
    state.tries = 3
    assert headers(state)["x-route-reason"] == "routed;fallback=x:http_503,y:connection_failed"


@pytest.mark.parametrize(
    ("error", "outcome"), [(QuotaError("no money"), "refused"), (ProviderFailure("no answer"), "failed")]
)
def test_a_refusal_is_recorded_with_its_code(error: Any, outcome: str) -> None:
    state = a_turn()
    state.refused(error)
    record = state.record("digest")
    assert (record.outcome, record.status, record.error_code) == (outcome, error.status, error.code)
    assert (record.candidate, record.cost, record.expected_cost, record.dropped) == (None, 0, 0, ())


def test_the_record_holds_what_was_decided_and_used() -> None:
    state = decided(a_turn())
    state.usage, state.cost, state.outcome, state.status = Usage(11, 7), 39_000, "ok", 200
    record = state.record("digest")
    assert (record.tenant, record.candidate, record.router_digest) == ("acme", "a", "digest")
    assert (record.input_tokens, record.output_tokens, record.cost, record.held) == (11, 7, 39_000, 300)
    assert (record.forecast_quality, record.price_weight, record.cap) == (0.625, 0.25, 10**9)
    assert state.choice is not None
    assert record.prices == state.choice.candidate.prices
    assert record.estimated_cost == state.choice.estimated_cost > 0
    assert (record.estimated_input_tokens, record.estimated_output_tokens) == (
        state.choice.input_tokens,
        state.choice.output_tokens,
    )
    assert record.dropped == (("b", "resting_after_failures"),)


def test_a_request_takes_from_when_it_came_to_its_record_and_waiting_is_not_our_own_time() -> None:
    """By hand: it came at 0; the first byte at 2.5; the record at 8.0, of which 7.25 were spent waiting."""
    clock = HandClock(2.5)
    state = a_turn(clock=clock)
    state.first_byte()
    clock.turn(5.5)
    state.waited_s = 7.25
    record = state.record("digest")
    assert (record.first_byte_s, record.total_s, record.overhead_s) == (2.5, 8.0, 0.75)
    assert record.started_at == STARTED_AT


def test_total_time_counts_from_when_the_request_came_and_not_from_the_clocks_origin() -> None:
    state = RequestState("req_1", Tenant("acme", ("a",), 0.8), a_request(), 100.0, STARTED_AT, HandClock(101.5))
    state.first_byte()
    record = state.record("digest")
    assert (record.first_byte_s, record.total_s, record.overhead_s) == (1.5, 1.5, 1.5)


def test_our_own_time_is_never_less_than_none() -> None:
    state = a_turn(clock=HandClock(1.0))
    state.waited_s = 1.5
    record = state.record("digest")
    assert (record.total_s, record.overhead_s) == (1.0, 0.0)


def test_the_budget_window_is_the_one_of_the_requests_start() -> None:
    state = a_turn(Budget(5, "day"))
    [window] = state.windows
    assert (window.starts_at, window.ends_at) == (1_767_225_600.0, 1_767_312_000.0)  # 1 January 2026, started at noon
    assert a_turn().windows == ()


class Drawn:
    """A course that lets every request explore: the second choice goes first."""

    def __init__(self) -> None:
        self.scales: list[float] = []

    def decided(
        self, decision: Decision, scale: float, *, may_explore: bool
    ) -> tuple[Decision, Exploration | None, tuple[Window, ...]]:
        self.scales.append(scale)
        if not may_explore:
            return decision, None, ()
        best, other = decision.choices
        drawn = Exploration((("a", 0.75), ("b", 0.25)), 0.9, "b", "a")
        return decision._replace(choices=(other, best), propensity=0.25), drawn, (APART,)


APART = Window("acme/exploration/total", 9, 0.0, None, separate=True)


def steered(reason: str = "routed") -> RequestState:
    state = decided(a_turn(Budget(10**9)), is_healthy=lambda _: True)
    state.choice = None
    state.reason = reason
    state.steer(Drawn())
    return state


def test_what_explores_is_held_in_full_and_in_explorations_window() -> None:
    state = steered()
    assert state.decision is not None
    first, best = state.decision.choices
    assert first.candidate.name == "b"
    reservation = state.reservation(first, (500, 100), 60.0)
    assert (reservation.max_cost, reservation.min_budget) == (500, 500)
    assert reservation.windows == (*state.windows, APART)
    reservation = state.reservation(best, (500, 100), 60.0)
    assert (reservation.min_budget, reservation.windows) == (100, state.windows)


def test_a_request_counts_once_however_often_a_hold_is_refused() -> None:
    state = steered()
    assert state.decision is not None
    first, best = state.decision.choices
    assert [state.reservation(first, (5, 5), 60.0).requests, state.reservation(best, (5, 5), 60.0).requests] == [1, 1]
    state.chosen(best, Grant(5, None))
    assert state.reservation(first, (5, 5), 60.0).requests == 0


def test_the_propensity_is_that_of_who_was_decided_on() -> None:
    state = steered()
    assert state.decision is not None
    first, best = state.decision.choices
    state.chosen(first, Grant(5, None))
    record = state.record("digest")
    assert (record.candidate, record.propensity) == ("b", 0.25)
    assert record.exploration is not None
    names, weights = zip(*record.exploration.propensities, strict=True)
    assert names[draw(weights, record.exploration.uniform)] == record.exploration.candidate == record.candidate
    state.chosen(best, Grant(5, None))
    assert state.record("digest").propensity == 0.0, "nobody decided on that one"


def test_who_was_drawn_instead_of_the_best_is_told() -> None:
    state = steered()
    assert state.decision is not None
    first, best = state.decision.choices
    state.chosen(first, Grant(5, None))
    assert state.route_reason() == "routed;explored"
    state.pace = "pace=0.5@acme/day"
    assert state.route_reason() == "routed;pace=0.5@acme/day;explored"
    state.chosen(best, Grant(5, None))
    assert state.route_reason() == "routed;pace=0.5@acme/day"


def test_what_is_pinned_is_counted_and_does_not_explore() -> None:
    state = steered("pinned")
    assert state.exploration is None
    assert state.reservation(state.decision.choices[0], (5, 1), 60.0).min_budget == 1 if state.decision else False


def test_pacing_plans_with_the_best_choice_whoever_serves() -> None:
    state = steered()
    assert state.decision is not None
    assert state.planned_cost == state.decision.choices[1].expected_cost


def test_the_pace_stands_in_the_reason_of_what_was_routed() -> None:
    state = decided(a_turn())
    state.pace = "pace=0.5@acme/day"
    assert state.route_reason() == "routed;pace=0.5@acme/day"
    state.attempts, state.tries = [Attempt("x", "http_503", 0)], 2
    assert state.route_reason() == "routed;pace=0.5@acme/day;fallback=x:http_503"
    state.reason = "declined:timeout"
    assert state.route_reason() == "declined:timeout;fallback=x:http_503"


@pytest.mark.parametrize(
    ("window", "is_out"),
    [(Window("acme/day/1", 5, 0.0, None), True), (APART, False), (Window("a/r", 5, 0.0, None, "requests"), False)],
)
def test_only_the_budgets_own_refusal_is_a_want_of_money(window: Window, is_out: bool) -> None:
    state = a_turn()
    state.refused_hold(OverLimit(window, 0, 0))
    state.refused_hold(OverLimit(APART, 0, 0))
    assert state.is_out_of_money is is_out


def test_the_header_names_what_the_candidate_was_not_sent() -> None:
    state = decided(a_turn())
    assert "x-route-dropped" not in headers(state)
    members = {"temperature": b"0.7", "seed": b"1", "stop": b"null", **state.request.fields}
    state.request = state.request._replace(fields=members)
    assert state.choice is not None
    deaf = candidate("a", capabilities=ASSUMED.declared({"temperature": False, "seed": False, "stop": False}))
    state.choice = state.choice._replace(candidate=deaf)
    assert headers(state)["x-route-dropped"] == "temperature,seed"
