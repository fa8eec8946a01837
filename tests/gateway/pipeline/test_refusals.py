"""The refusals: status, code, headers, and words that say what, which and the value."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.api.parse.chat import ChatLimits, parse_chat
from gateway.billing.money import to_usd
from gateway.billing.price import Price
from gateway.billing.reservation import OverLimit
from gateway.billing.window import Window
from gateway.errors import Fault, ProviderError, RequestError
from gateway.images.data_url import ImageLimits
from gateway.pipeline.chat_request import ChatRequest
from gateway.pipeline.refusals import (
    infeasible,
    no_such_candidate,
    no_such_model,
    over_quota,
    provider_failed,
    starting,
    store_unavailable,
)
from gateway.routing.circuit_breaker import Rest
from gateway.routing.decision import CONTEXT, Decision, Preference, decide
from tests.gateway.billing.makers import candidate


def a_request(budget: bytes | None = None) -> ChatRequest:
    headers = {} if budget is None else {b"x-budget": budget}
    body = b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"max_tokens":10,"tools":[{}]}'
    return parse_chat(body, headers, ChatLimits(ImageLimits(), 1))


def a_decision(request: ChatRequest, *, resting: str = "", tools: bool = True) -> Decision:
    candidates = [candidate(name, Price(10**9, 4 * 10**9), calls_tools=tools) for name in "ab"]
    preference = Preference(0.0, request.cap)
    return decide(
        request.query, candidates, None, preference, reference_cost=1, is_healthy=lambda name: name not in resting
    )


def header(error: RequestError, name: str) -> str | None:
    return dict(error.headers).get(name)


def test_a_cap_that_is_too_low_is_told_the_price_that_would_do() -> None:
    request = a_request(b"0.00001")
    error = infeasible(a_decision(request), request)
    assert (error.status, error.code, error.param) == (402, "budget_infeasible", "X-Budget")
    price = header(error, "x-route-feasible-cost")
    assert price is not None
    assert price in error.message
    assert "0.00001 USD" in error.message
    assert header(error, "x-should-retry") == "false"
    enough = a_request(price.encode())
    assert a_decision(enough).choices


@pytest.mark.parametrize("budget", [None, b"1"])
def test_what_no_candidate_can_do_is_the_requests_fault(budget: bytes | None) -> None:
    request = a_request(budget)
    error = infeasible(a_decision(request, tools=False), request)
    assert (error.status, error.code) == (400, "no_capable_candidate")
    assert "a: calls_no_tools; b: calls_no_tools" in error.message


def test_candidates_that_rest_are_not_the_requests_fault() -> None:
    request = a_request()
    error = infeasible(a_decision(request, resting="ab"), request)
    assert error.status == 503
    assert header(error, "retry-after") is not None
    assert "resting" in error.message


def test_a_spent_window_says_when_it_ends() -> None:
    window = Window("acme/day/x", 5_000_000, 0.0, 1_100.0)
    error = over_quota(OverLimit(window, 1_000_000, 0), 1_000.0)
    assert (error.status, error.code, error.type) == (429, "insufficient_quota", "insufficient_quota")
    assert header(error, "retry-after") is None, "a client would sleep for so long"
    assert header(error, "x-should-retry") == "false"
    assert error.retry_after_s == 100 and error.shown()["error"]["retry_after_s"] == 100  # type: ignore[index]
    assert "0.001 USD of the budget of 0.005 USD (day/x)" in error.message
    assert "it may succeed in 100 s" in error.message


def test_a_429_says_what_would_fit() -> None:
    request = a_request()
    decision = a_decision(request)
    least = min(choice.min_budget for choice in decision.choices)
    spent = over_quota(OverLimit(Window("acme/day/x", 5_000_000, 0.0, 30.0), 0, 0), 0.0, decision)
    assert f"this request needs at least {to_usd(least)} USD" in spent.message
    assert header(spent, "retry-after") == "30"
    tokens = over_quota(OverLimit(Window("acme/tokens/minute/1", 60, 0.0, 60.0, "tokens"), 3, 0), 12.5, decision)
    assert f"needs about {min(choice.expected_tokens for choice in decision.choices)}" in tokens.message


def test_a_window_that_is_held_may_be_tried_soon() -> None:
    error = over_quota(OverLimit(Window("acme/day", 5_000_000, 0.0, None), 0, 2_000_000), 0.0)
    assert header(error, "retry-after") == "1"
    assert "0.002 USD is held" in error.message


def test_a_total_that_is_spent_never_comes_back() -> None:
    error = over_quota(OverLimit(Window("acme/day", 5_000_000, 0.0, None), 0, 0), 0.0)
    assert header(error, "retry-after") is None


def test_a_rate_limit_says_what_is_left_and_may_be_tried_again() -> None:
    for unit in ("requests", "tokens"):
        error = over_quota(OverLimit(Window(f"acme/{unit}/minute/1", 60, 0.0, 60.0, unit), 3, 0), 12.5)
        assert (error.status, error.code, error.type) == (429, "rate_limit_exceeded", "rate_limit_error")
        assert header(error, "retry-after") == "48"
        assert header(error, "x-should-retry") is None
        assert f"3 of 60 {unit}" in error.message


def test_names_that_are_not_there_are_said_shortened() -> None:
    model, allowed = no_such_model("m" * 500), no_such_candidate("c" * 500)
    assert (model.status, model.code, model.param) == (404, "model_not_found", "model")
    assert (allowed.status, allowed.param) == (400, "X-Candidates")
    assert max(len(model.message), len(allowed.message)) < 250


def test_an_unreachable_store_is_503() -> None:
    for error, code in ((store_unavailable(), "store_unavailable"), (starting(), "starting")):
        assert (error.status, error.code, error.type) == (503, code, "server_error")
        assert header(error, "retry-after") == "1"


def test_failures_of_every_choice_are_502_and_named() -> None:
    failures = [
        ProviderError("a: no connection", reason="connection_failed"),
        ProviderError("b: 500", reason="http_500"),
    ]
    error = provider_failed(failures)
    assert (error.status, error.code) == (502, "provider_failed")
    assert "a: no connection; b: 500" in error.message


def refused(fault: Fault, said: str = "no", **more: Any) -> ProviderError:
    """A provider's refusal."""
    return ProviderError(
        f"p answered 400: {said}", reason="http_400", **{"status": 400, **more}, fault=fault, said=said
    )


def test_rate_limits_of_every_choice_are_429_with_the_shortest_wait() -> None:
    error = provider_failed([refused("rate_limit", status=429)] * 2)
    assert (error.status, error.code, error.type) == (429, "provider_rate_limited", "rate_limit_error")
    assert header(error, "retry-after") == "1"
    waits = [refused("rate_limit", status=429, retry_after_s=wait) for wait in (45.0, 27.2, 300.0)]
    assert header(provider_failed(waits), "retry-after") == "28"
    assert header(provider_failed([*waits, refused("account", status=401)]), "retry-after") == "28"
    long = provider_failed([refused("rate_limit", status=429, retry_after_s=120.0)])
    assert (header(long, "retry-after"), header(long, "x-should-retry")) == (None, "false")
    assert long.retry_after_s == 120 and "in 120 s" in long.message


def test_a_refused_request_is_told_in_the_providers_words() -> None:
    error = provider_failed([refused("unsupported", "bad schema", param="response_format", code="its_own", status=422)])
    assert (error.status, error.message) == (422, "bad schema")
    assert (error.param, error.code, error.type) == ("response_format", "its_own", "invalid_request_error")


def test_the_most_telling_refusal_is_told() -> None:
    failures = [refused("invalid", "a"), refused("context_length", "b", code="3051"), refused("content_filter", "c")]
    error = provider_failed([*failures, refused("account", "d")])
    assert (error.status, error.message, error.code) == (400, "b", "context_length_exceeded")


@pytest.mark.parametrize("passing", [refused("overloaded", status=503), ProviderError("x: reset", reason="broke_off")])
def test_while_another_candidate_may_recover_the_client_may_come_again(passing: ProviderError) -> None:
    error = provider_failed([refused("unsupported", "no tools"), passing])
    assert (error.status, error.code, error.type) == (502, "provider_failed", "provider_error")
    assert "no tools" in error.message and str(passing) in error.message


def test_a_fault_of_the_operators_is_no_fault_of_the_client() -> None:
    error = provider_failed([refused("account", "no credit left", status=401)])
    assert (error.status, error.code) == (502, "provider_failed")
    assert "no credit left" in error.message


@pytest.mark.parametrize("odd", [None, "", "\ud800", "a\nb", "x" * 5_000])
def test_odd_codes_and_params_of_a_provider_stay_out_of_the_records(odd: str | None) -> None:
    error = provider_failed([refused("invalid", param=odd, code=odd)])
    assert error.param in (None, "") and error.code in ("provider_refused", None)


def test_a_refusal_without_a_status_or_words_is_a_400_in_ours() -> None:
    error = provider_failed([ProviderError("p: too long", reason="too_long", fault="invalid")])
    assert (error.status, error.message, error.code) == (400, "p: too long", "provider_refused")


def test_a_prompt_that_is_too_long_for_all_has_the_code_that_clients_look_for() -> None:
    request = a_request()
    rows = [row._replace(dropped=CONTEXT) for row in a_decision(request).choices]
    error = infeasible(Decision((), tuple(rows)), request)
    assert (error.status, error.code, error.param) == (400, "context_length_exceeded", "messages")


def test_candidates_that_all_rest_after_rate_limits_are_a_429_with_the_wait() -> None:
    request = a_request()
    decision = a_decision(request, resting="ab")
    limited = {"a": Rest("rate_limit", "slow down", 42.5), "b": Rest("rate_limit", "slow down", 20.0)}
    error = infeasible(decision, request, {**limited, "elsewhere": Rest(None, "", 1.0)})
    assert (error.status, error.code, header(error, "retry-after")) == (429, "provider_rate_limited", "20")
    mixed = infeasible(decision, request, {**limited, "b": Rest("account", "no credit", 300.0)})
    assert (mixed.status, header(mixed, "retry-after")) == (503, "43")
