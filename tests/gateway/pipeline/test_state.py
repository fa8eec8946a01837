"""The turn: its headers as far as they are known, and the record it leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.billing.reservation import Grant, OverLimit
from gateway.billing.usage import Usage
from gateway.billing.window import Budget, Window
from gateway.errors import ProvidersExhausted, QuotaError
from gateway.pipeline.record import Attempt
from gateway.pipeline.state import RequestState
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
    turn: RequestState, remaining: int | None = 700, *, is_healthy: Callable[[str], bool] = lambda name: name == "a"
) -> RequestState:
    turn.reason = "routed"
    turn.preference = Preference(0.25, turn.request.cap)
    forecasts = {"a": CandidateForecast(0.625, 0.1, 100, 200), "b": CandidateForecast(0.5, 0.1, 100, 200)}
    turn.decision = decide(
        turn.request.query,
        [candidate("a"), candidate("b", calls_tools=False)],
        forecasts,
        turn.preference,
        reference_cost=1,
        is_healthy=is_healthy,
    )
    turn.chosen(turn.decision.choices[0], Grant(300, remaining))
    return turn


def headers(turn: RequestState, exact_cost: int | None = None) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in turn.headers(exact_cost)}


def test_a_refusal_before_the_decision_still_has_an_id_and_a_reason() -> None:
    assert headers(a_turn()) == {"x-request-id": "req_1", "x-route-reason": "unrouted"}


def test_the_record_says_how_long_the_stages_took_and_what_the_dearest_would_have_cost() -> None:
    turn = a_turn()
    turn.parse_s, turn.decide_s, turn.reserve_s = 0.25, 0.5, 0.75
    refused = turn.record("digest")
    assert (refused.parse_s, refused.decide_s, refused.reserve_s, refused.dearest_cost) == (0.25, 0.5, 0.75, 0)
    decided(turn)
    assert turn.decision is not None
    served = turn.record("digest")
    assert served.dearest_cost == max(row.expected_cost for row in turn.decision.choices) > 0


def test_before_the_bill_the_expected_cost_stands() -> None:
    turn = decided(a_turn())
    assert turn.choice is not None
    found = headers(turn)
    assert found["x-route-candidate"] == "a"
    assert found["x-route-quality"] == "0.6250"
    assert float(found["x-route-cost"]) == turn.choice.expected_cost / 1e9
    assert found["x-budget-remaining"] == "0.0000007"


def test_after_the_bill_cost_and_budget_are_exact() -> None:
    turn = decided(a_turn())
    turn.cost = 120
    found = headers(turn, turn.cost)
    assert found["x-route-cost"] == "0.00000012"
    assert found["x-budget-remaining"] == "0.00000088"  # 700 left beside a hold of 300, of which 120 were spent


def test_a_tenant_without_a_budget_is_told_of_none() -> None:
    assert "x-budget-remaining" not in headers(decided(a_turn(), remaining=None))


def test_a_bill_over_the_budget_leaves_nothing_and_not_less() -> None:
    turn = decided(a_turn(), remaining=0)
    assert headers(turn, 5_000)["x-budget-remaining"] == "0"


def test_failed_attempts_stand_in_the_reason() -> None:
    turn = decided(a_turn())
    turn.attempts = [Attempt("x", "http_503", 0), Attempt("y", "connection_failed", 0), Attempt("a", None, 5)]
    assert headers(turn)["x-route-reason"] == "routed;fallback=x:http_503,y:connection_failed"


@pytest.mark.parametrize(
    ("error", "outcome"), [(QuotaError("no money"), "refused"), (ProvidersExhausted("no answer"), "failed")]
)
def test_a_refusal_is_recorded_with_its_code(error: Any, outcome: str) -> None:
    turn = a_turn()
    turn.refused(error)
    record = turn.record("digest")
    assert (record.outcome, record.status, record.error_code) == (outcome, error.status, error.code)
    assert (record.candidate, record.cost, record.expected_cost, record.dropped) == (None, 0, 0, ())


def test_the_record_holds_what_was_decided_and_used() -> None:
    turn = decided(a_turn())
    turn.usage, turn.cost, turn.outcome, turn.status = Usage(11, 7), 39_000, "ok", 200
    record = turn.record("digest")
    assert (record.tenant, record.candidate, record.router_digest) == ("acme", "a", "digest")
    assert (record.input_tokens, record.output_tokens, record.cost, record.held) == (11, 7, 39_000, 300)
    assert (record.forecast_quality, record.lagrangian, record.cap) == (0.625, 0.25, 10**9)
    assert turn.choice is not None
    assert record.prices == turn.choice.candidate.prices
    assert record.estimated_cost == turn.choice.estimated_cost > 0
    assert (record.estimated_input_tokens, record.estimated_output_tokens) == (
        turn.choice.input_tokens,
        turn.choice.output_tokens,
    )
    assert record.dropped == (("b", "resting_after_failures"),)


def test_a_request_takes_from_when_it_came_to_its_record_and_waiting_is_not_our_own_time() -> None:
    """By hand: it came at 0; the first byte at 2.5; the record at 8.0, of which 7.25 were spent waiting."""
    clock = HandClock(2.5)
    turn = a_turn(clock=clock)
    turn.first_byte()
    clock.turn(5.5)
    turn.waited_s = 7.25
    record = turn.record("digest")
    assert (record.first_byte_s, record.total_s, record.overhead_s) == (2.5, 8.0, 0.75)
    assert record.started_at == STARTED_AT


def test_total_time_counts_from_when_the_request_came_and_not_from_the_clocks_origin() -> None:
    turn = RequestState("req_1", Tenant("acme", ("a",), 0.8), a_request(), 100.0, STARTED_AT, HandClock(101.5))
    turn.first_byte()
    record = turn.record("digest")
    assert (record.first_byte_s, record.total_s, record.overhead_s) == (1.5, 1.5, 1.5)


def test_our_own_time_is_never_less_than_none() -> None:
    turn = a_turn(clock=HandClock(1.0))
    turn.waited_s = 1.5
    record = turn.record("digest")
    assert (record.total_s, record.overhead_s) == (1.0, 0.0)


def test_the_budget_window_is_the_one_of_the_requests_start() -> None:
    turn = a_turn(Budget(5, "day"))
    [window] = turn.windows
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


APART = Window("acme/exploration/total", 9, 0.0, None, apart=True)


def steered(reason: str = "routed") -> RequestState:
    turn = decided(a_turn(Budget(10**9)), is_healthy=lambda _: True)
    turn.choice = None
    turn.reason = reason
    turn.steer(Drawn())
    return turn


def test_what_explores_is_held_in_full_and_in_explorations_window() -> None:
    turn = steered()
    assert turn.decision is not None
    first, best = turn.decision.choices
    assert first.candidate.name == "b"
    hold = turn.hold(first, (500, 100), 60.0)
    assert (hold.ceiling, hold.floor) == (500, 500)
    assert hold.windows == (*turn.windows, APART)
    hold = turn.hold(best, (500, 100), 60.0)
    assert (hold.floor, hold.windows) == (100, turn.windows)


def test_a_request_counts_once_however_often_a_hold_is_refused() -> None:
    turn = steered()
    assert turn.decision is not None
    first, best = turn.decision.choices
    assert [turn.hold(first, (5, 5), 60.0).requests, turn.hold(best, (5, 5), 60.0).requests] == [1, 1]
    turn.chosen(best, Grant(5, None))
    assert turn.hold(first, (5, 5), 60.0).requests == 0


def test_the_propensity_is_that_of_who_was_decided_on() -> None:
    turn = steered()
    assert turn.decision is not None
    first, best = turn.decision.choices
    turn.chosen(first, Grant(5, None))
    record = turn.record("digest")
    assert (record.candidate, record.propensity) == ("b", 0.25)
    assert record.exploration is not None
    names, weights = zip(*record.exploration.propensities, strict=True)
    assert names[draw(weights, record.exploration.uniform)] == record.exploration.candidate == record.candidate
    turn.chosen(best, Grant(5, None))
    assert turn.record("digest").propensity == 0.0, "nobody decided on that one"


def test_who_was_drawn_instead_of_the_best_is_told() -> None:
    turn = steered()
    assert turn.decision is not None
    first, best = turn.decision.choices
    turn.chosen(first, Grant(5, None))
    assert turn.route_reason() == "routed;explored"
    turn.pace = "pace=0.5@acme/day"
    assert turn.route_reason() == "routed;pace=0.5@acme/day;explored"
    turn.chosen(best, Grant(5, None))
    assert turn.route_reason() == "routed;pace=0.5@acme/day"


def test_what_is_pinned_is_counted_and_does_not_explore() -> None:
    turn = steered("pinned")
    assert turn.exploration is None
    assert turn.hold(turn.decision.choices[0], (5, 1), 60.0).floor == 1 if turn.decision else False


def test_pacing_plans_with_the_best_choice_whoever_serves() -> None:
    turn = steered()
    assert turn.decision is not None
    assert turn.planned_cost == turn.decision.choices[1].expected_cost


def test_the_pace_stands_in_the_reason_of_what_was_routed() -> None:
    turn = decided(a_turn())
    turn.pace = "pace=0.5@acme/day"
    assert turn.route_reason() == "routed;pace=0.5@acme/day"
    turn.attempts = [Attempt("x", "http_503", 0)]
    assert turn.route_reason() == "routed;pace=0.5@acme/day;fallback=x:http_503"
    turn.reason = "declined:timeout"
    assert turn.route_reason() == "declined:timeout;fallback=x:http_503"


@pytest.mark.parametrize(
    ("window", "is_out"),
    [(Window("acme/day/1", 5, 0.0, None), True), (APART, False), (Window("a/r", 5, 0.0, None, "requests"), False)],
)
def test_only_the_budgets_own_refusal_is_a_want_of_money(window: Window, is_out: bool) -> None:
    turn = a_turn()
    turn.refused_hold(OverLimit(window, 0, 0))
    turn.refused_hold(OverLimit(APART, 0, 0))
    assert turn.is_out_of_money is is_out
