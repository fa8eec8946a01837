"""The turn: its headers as far as they are known, and the record it leaves."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core.budget import Budget
from gateway.core.decision import CandidateForecast, Preference, decide
from gateway.core.hold import Granted
from gateway.core.record import Attempt
from gateway.core.tenant import Tenant
from gateway.core.usage import Usage
from gateway.errors import ProviderFailed, QuotaExceeded
from gateway.turn import Turn

from .core.makers import candidate
from .requests import a_request


def a_turn(budget: Budget | None = None) -> Turn:
    return Turn("req_1", Tenant("acme", ("a",), 0.8, budgets=(budget,) if budget else ()), a_request(budget=b"1"), 0.0)


def decided(turn: Turn, remaining: int | None = 700) -> Turn:
    turn.reason = "routed"
    turn.preference = Preference(0.25, turn.request.cap)
    forecasts = {"a": CandidateForecast(0.625, 0.1, 100, 200)}
    turn.decision = decide(
        turn.request.query,
        [candidate("a"), candidate("b", calls_tools=False)],
        forecasts,
        turn.preference,
        reference_cost=1,
        is_healthy=lambda name: name == "a",
    )
    turn.chosen(turn.decision.choices[0], Granted(300, remaining))
    return turn


def headers(turn: Turn, exact_cost: int | None = None) -> dict[str, str]:
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
    ("error", "outcome"), [(QuotaExceeded("no money"), "refused"), (ProviderFailed("no answer"), "failed")]
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
    assert 0 <= record.overhead_s <= record.total_s


def test_waiting_is_not_our_own_time() -> None:
    turn = a_turn()
    turn.waited_s = 10**12
    assert turn.record("digest").overhead_s == 0.0


def test_the_budget_window_is_the_one_of_the_requests_start() -> None:
    turn = a_turn(Budget(5, "day"))
    [window] = turn.windows
    assert window.ends_at is not None
    assert window.starts_at <= turn.started_at < window.ends_at
    assert a_turn().windows == ()
