"""What follows a failed attempt: another candidate, the same one again, or the refusal that tells the client most."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.errors import Fault, ProviderError
from tests.fakes.provider import ScriptedReply, refusal, whole_reply
from tests.fakes.requests import a_request
from tests.gateway.billing.makers import candidate

from .house import CHEAP, PLAIN, House


def refused(fault: Fault, status: int = 400, **more: Any) -> ScriptedReply:
    return refusal(f"http_{status}", fault=fault, status=status, **more)


@pytest.mark.parametrize(
    "fault", ["context_length", "content_filter", "unsupported", "too_large", "invalid", "account"]
)
def test_a_refusal_of_one_candidate_does_not_end_the_request(fault: Fault) -> None:
    larger = replace(candidate("fair", CHEAP), context_tokens=1_000_000)
    house = House([refused(fault), whole_reply()], candidates=(PLAIN[0], larger, PLAIN[2]), options={"max_attempts": 1})
    sink, record = house.serve()
    assert (sink.status, record.outcome, record.candidate) == (200, "ok", "fair")
    assert record.reason == "routed;fallback=good:http_400"
    assert house.ledger.settled[0] == ("acme/req_1.0", 0, 0), "a refusal costs nothing"


def test_two_that_refuse_for_the_same_reason_end_it() -> None:
    house = House([refused("content_filter", said="mine"), refused("content_filter", said="mine")])
    sink, record = house.serve()
    assert (sink.status, sink.refusal.message) == (400, "mine")
    assert house.provider.asked == ["good-served", "fair-served"]
    assert (record.outcome, record.status, record.reason) == ("refused", 400, "routed;fallback=good:http_400")


def test_candidates_of_two_providers_agree_in_the_reason_and_those_of_one_only_in_its_words() -> None:
    fair = replace(candidate("fair", CHEAP), provider="q")
    for fault, param in (("unsupported", "seed"), ("content_filter", None), ("invalid", "seed")):
        replies = [refused(fault, param=param, said=words) for words in ("no seed", "seed? no")]  # type: ignore[arg-type]
        house = House([*replies, whole_reply()])
        assert house.serve()[1].candidate == "poor", "two of one provider, in other words"
        house = House([*replies, whole_reply()], candidates=(PLAIN[0], fair, PLAIN[2]))
        assert house.serve()[0].status == 400


def test_different_reasons_do_not_end_it() -> None:
    house = House([refused("unsupported", param="seed"), refused("unsupported", param="n"), whole_reply()])
    assert house.serve()[1].candidate == "poor"


def test_a_prompt_that_is_too_long_goes_to_a_larger_context_only() -> None:
    larger = replace(candidate("poor", CHEAP), context_tokens=1_000_000)
    smaller = replace(candidate("fair", CHEAP), context_tokens=64_000)
    house = House([refused("context_length"), whole_reply()], candidates=(PLAIN[0], smaller, larger))
    assert house.serve()[1].candidate == "poor"
    assert house.provider.asked == ["good-served", "poor-served"]


def test_contexts_of_one_size_are_tried_twice_because_they_are_only_declared() -> None:
    house = House([refused("context_length", said=f"{number}001 tokens") for number in (9, 8)])
    sink, _ = house.serve()
    assert house.provider.asked == ["good-served", "fair-served"]
    assert (sink.status, sink.refusal.code, sink.refusal.message) == (400, "context_length_exceeded", "9001 tokens")


def test_a_refusal_beside_an_outage_is_a_502_that_names_both() -> None:
    sink, record = House([refusal("http_503"), refused("invalid"), refusal("http_503")]).serve()
    assert (sink.status, sink.refusal.code) == (502, "provider_failed")
    assert [attempt.failure for attempt in record.attempts] == ["http_503", "http_400", "http_503"]


def test_the_operators_fault_rests_the_candidate_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    house = House([refused("account", 401, said="no credit"), *[whole_reply()] * 3])
    for _ in range(3):
        house.serve()
        house.forget()
    assert house.provider.asked == ["good-served", *["fair-served"] * 3]
    [line] = [record.getMessage() for record in caplog.records if "good" in record.getMessage()]
    assert "provider: http_401" in line and "account" in line
    house = House([refused("account", 401), whole_reply()])
    house.serve()
    assert house.pipeline.resting()["good"].fault == "account"


def test_no_key_is_repeated_from_an_error_within_a_reply(caplog: pytest.LogCaptureFixture) -> None:
    body = json.dumps({"error": {"message": "the key 0123456789abcdef0123 is odd", "code": 429}}).encode()
    house = House([ScriptedReply((body,)), whole_reply()], options={"secrets": {"p": ("0123456789abcdef0123",)}})
    _, record = house.serve()
    assert "the key [key] is odd" in record.attempts[0].said
    assert "the key [key] is odd" in caplog.text and "0123456789" not in caplog.text


def test_work_that_was_abandoned_is_charged_its_input_and_forecast_output_at_most_its_hold() -> None:
    late = ScriptedReply(refuses=ProviderError("no first byte", reason="first_byte_timeout", reached=True))
    house = House([late, whole_reply()])
    _, record = house.serve()
    assert record.decision is not None
    best = record.decision.choices[0]
    lost = 10 * best.input_tokens + 40 * best.output_tokens
    assert [attempt[:3] for attempt in record.attempts] == [("good", "first_byte_timeout", lost), ("fair", None, 30)]
    assert record.cost == lost + 30 and lost <= best.max_cost


def pinned(*replies: ScriptedReply) -> tuple[House, list[float]]:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    return House(replies, options={"sleep": sleep, "uniform": lambda: 1.0}), waits


@pytest.mark.parametrize("status", [429, 502, 503, 529])
def test_a_named_candidate_is_asked_again_after_what_passes(status: int) -> None:
    fault: Fault = "rate_limit" if status == 429 else "overloaded"
    house, waits = pinned(refused(fault, status), refused(fault, status), whole_reply())
    sink, record = house.serve(a_request(model="good"))
    assert (sink.status, record.candidate, waits) == (200, "good", [0.5, 1.0])
    assert record.reason == f"pinned;retry=good:http_{status},good:http_{status}"


def test_a_named_candidate_is_asked_again_when_its_provider_says() -> None:
    house, waits = pinned(refused("rate_limit", 429, retry_after_s=7.0), whole_reply())
    assert (house.serve(a_request(model="good"))[0].status, waits) == (200, [7.0])
    house, waits = pinned(refused("rate_limit", 429, retry_after_s=27.0))
    sink, _ = house.serve(a_request(model="good"))
    assert (sink.status, waits) == (429, []), "so long a wait is the client's"
    assert ("retry-after", "27") in sink.refusal.headers


def test_a_named_candidate_is_asked_three_times_at_most() -> None:
    house, waits = pinned(*[refused("overloaded", 503)] * 3)
    sink, record = house.serve(a_request(model="good"))
    assert (sink.status, len(waits), len(record.attempts)) == (502, 2, 3)


@pytest.mark.parametrize(
    "reply",
    [
        ScriptedReply(refuses=ProviderError("late", reason="first_byte_timeout", reached=True)),
        ScriptedReply(refuses=ProviderError("reset", reason="connection_failed", reached=True)),
        refused("invalid"),
        refused("account", 401),
        refused("account", 429),
        refused("context_length", 500),
        ScriptedReply(refuses=ProviderError("empty", reason="empty_reply")),
        ScriptedReply(refuses=ProviderError("no", reason="error_body", fault="content_filter")),
    ],
)
def test_what_may_have_been_processed_or_will_not_change_is_not_sent_again(reply: ScriptedReply) -> None:
    house, waits = pinned(reply)
    house.serve(a_request(model="good"))
    assert (house.provider.asked, waits) == (["good-served"], [])


def test_a_named_candidate_that_told_of_an_overload_is_asked_again() -> None:
    house, waits = pinned(
        ScriptedReply(refuses=ProviderError("x", reason="error_body", fault="overloaded")), whole_reply()
    )
    assert (house.serve(a_request(model="good"))[0].status, waits) == (200, [0.5])


def test_a_named_candidate_that_could_not_be_reached_is_asked_again() -> None:
    house, waits = pinned(ScriptedReply(refuses=ProviderError("x", reason="connection_failed")), whole_reply())
    assert (house.serve(a_request(model="good"))[0].status, waits) == (200, [0.5])
