"""The refusals: status, code, headers, and words that say what, which and the value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.api.parse.chat import ChatLimits, parse_chat
from gateway.billing.price import Price
from gateway.billing.reservation import OverLimit
from gateway.billing.window import Window
from gateway.errors import ProviderError, RequestError
from gateway.images.data_url import ImageLimits
from gateway.pipeline.chat_request import ChatRequest
from gateway.pipeline.refusals import (
    infeasible,
    no_such_candidate,
    no_such_model,
    over_quota,
    provider_failed,
    store_unavailable,
)
from gateway.routing.decision import Decision, Preference, decide
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
    assert header(error, "retry-after") == "100"
    assert header(error, "x-should-retry") == "false"
    assert "0.001 USD of the budget of 0.005 USD (day/x)" in error.message


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
        assert (error.status, error.code) == (429, "rate_limit_exceeded")
        assert header(error, "retry-after") == "48"
        assert header(error, "x-should-retry") is None
        assert f"3 of 60 {unit}" in error.message


def test_names_that_are_not_there_are_said_shortened() -> None:
    model, allowed = no_such_model("m" * 500), no_such_candidate("c" * 500)
    assert (model.status, model.code, model.param) == (404, "model_not_found", "model")
    assert (allowed.status, allowed.param) == (400, "X-Candidates")
    assert max(len(model.message), len(allowed.message)) < 250


def test_an_unreachable_store_is_503() -> None:
    assert (store_unavailable().status, store_unavailable().code) == (503, "store_unavailable")


def test_failures_of_every_choice_are_502_and_named() -> None:
    failures = [
        ProviderError("a: no connection", reason="connection_failed"),
        ProviderError("b: 500", reason="http_500"),
    ]
    error = provider_failed(failures)
    assert (error.status, error.code) == (502, "provider_failed")
    assert "a: no connection; b: 500" in error.message


def test_rate_limits_of_every_choice_are_429() -> None:
    error = provider_failed([ProviderError("a", reason="http_429", status=429)] * 2)
    assert (error.status, error.code) == (429, "provider_rate_limited")
    assert header(error, "retry-after") == "1"


def said(error: Any, status: int = 400) -> RequestError:
    body = error if isinstance(error, bytes) else json.dumps({"error": error}).encode()
    return provider_failed([ProviderError("p: 400", reason="http_400", status=status, body=body, permanent=True)])


def test_a_fault_of_the_request_is_told_as_the_provider_words_it() -> None:
    error = said({"message": "bad schema", "param": "response_format", "code": "invalid_schema"}, 422)
    assert (error.status, error.message) == (422, "bad schema")
    assert (error.param, error.code) == ("response_format", "invalid_schema")


@pytest.mark.parametrize(
    "odd",
    [None, 400, 1.5, True, {"a": 1}, ["a"], "\ud800", "a\nb", "x" * 5_000],
    ids=["null", "int", "float", "bool", "object", "array", "surrogate", "line end", "long"],
)
def test_odd_codes_and_params_of_a_provider_stay_out_of_the_records(odd: Any) -> None:
    error = said({"message": "no", "param": odd, "code": odd})
    assert (error.message, error.param, error.code) == ("no", None, "provider_refused")


def test_a_fault_of_the_request_without_a_status_is_a_400() -> None:
    error = provider_failed([ProviderError("p: too long", reason="too_long", permanent=True)])
    assert (error.status, error.message, error.code) == (400, "p: too long", "provider_refused")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b'{"error":"text"}', b'{"error":{}}', b"\xff", b"[" * 9999]
)
def test_an_error_of_another_shape_is_told_in_our_words(body: bytes) -> None:
    error = said(body)
    assert (error.status, error.message, error.code) == (400, "p: 400", "provider_refused")
