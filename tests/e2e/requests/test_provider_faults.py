"""A provider that refuses, fails or is slow: the next choice serves, and the reason says who failed and how."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.harness.raw_client import RawClient
from tests.e2e.harness.scripted_provider import ScriptedProvider
from tests.e2e.harness.scripts import TEXT, USAGE, answer, hang, refuse, say_then_hang, slowly
from tests.e2e.harness.site import Site, charge, serving_gateway, settings_for, usd

LIMIT_S = 0.2


@contextmanager
def impatient_site(provider: ScriptedProvider, folder: Path, **limits: float) -> Iterator[Site]:
    """A gateway with these limits for `large` alone; `small` is at a port where nobody listens."""
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    raw = settings_for(folder, provider.url)
    raw["providers"] = {
        "pool": {"base_url": provider.url},
        "hasty": {"base_url": provider.url, **limits},
        "closed": {"base_url": f"http://127.0.0.1:{port}/v1"},
    }
    raw["candidates"][0]["provider"] = "hasty"
    raw["candidates"][2]["provider"] = "closed"
    with serving_gateway(raw, folder) as found:
        yield found
        found.assert_no_trace()


def heal(site: Site, provider: ScriptedProvider) -> None:
    """End the rest of all candidates: the site is shared."""
    provider.forget()
    for name in ("large", "middle", "small"):
        assert site.chat(ask(model=name)).status == 200


def ask(stream: bool = False, **more: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": "How many?"}], "stream": stream, **more}


@pytest.mark.parametrize("stream", [True, False])
def test_refusal_of_one_candidate_goes_to_the_next(site: Site, provider: ScriptedProvider, stream: bool) -> None:
    for status in (401, 403, 404, 408, 429, 500, 503, 529):
        provider.on("large", refuse(status), answer())
        answered = site.chat(ask(stream))
        assert answered.status == 200
        assert answered.headers["x-route-reason"] == f"routed;fallback=large:http_{status}"
        site.assert_charged(answered, 0, charge("middle", *USAGE))
        assert site.ledger.outcome(answered.headers["x-request-id"])["attempts"] == [
            ["large", f"http_{status}", 0],
            ["middle", None, charge("middle", *USAGE)],
        ]
        site.chat(ask(model="large"))  # well again, so that its failures never are five in a row


@pytest.mark.parametrize("stream", [True, False])
def test_a_request_that_all_refuse_is_told_as_the_provider_words_it(
    site: Site, provider: ScriptedProvider, stream: bool
) -> None:
    for status in (400, 422):
        provider.forget()
        for name in ("large", "middle", "small"):
            provider.on(name, refuse(status, "temperature: 7 is over 2", "too_hot", "temperature"))
        answered = site.chat(ask(stream, temperature=7))
        assert answered.status == status
        assert answered.error == {
            "message": "temperature: 7 is over 2",
            "type": "invalid_request_error",
            "code": "too_hot",
            "param": "temperature",
        }
        assert len(provider.calls) == 2, "two agree"
        assert answered.headers["x-route-reason"] == f"routed;fallback=large:http_{status}"
        site.assert_charged(answered, 0, 0)


@pytest.mark.parametrize("stream", [True, False])
def test_what_one_candidate_refuses_another_serves(site: Site, provider: ScriptedProvider, stream: bool) -> None:
    for status in (400, 413, 415, 422):
        provider.forget()
        provider.on("large", refuse(status, "temperature: 7 is over 2", "too_hot", "temperature"))
        for _ in range(6):
            answered = site.chat(ask(stream, temperature=7))
            assert (answered.status, answered.headers["x-route-candidate"]) == (200, "middle")
            assert answered.headers["x-route-reason"] == f"routed;fallback=large:http_{status}"


def test_a_prompt_that_is_too_long_for_one_has_the_code_that_clients_look_for(
    site: Site, provider: ScriptedProvider
) -> None:
    provider.on("large", refuse(400, "This model's maximum context length is 8192 tokens", "3051"))
    answered = site.chat(ask(model="large"))
    assert (answered.status, answered.error["code"]) == (400, "context_length_exceeded")
    assert answered.headers["x-route-reason"] == "pinned"


def test_a_candidate_whose_account_is_refused_rests_and_is_shown(site: Site, provider: ScriptedProvider) -> None:
    provider.on("large", refuse(401, "Incorrect API key provided: sk-abcdefghijklmnop", "invalid_api_key"))
    for _ in range(3):
        assert site.chat(ask()).headers["x-route-candidate"] == "middle"
    assert [call.model for call in provider.calls].count("large") == 1
    shown = site.call("GET", "/readyz?verbose").json["resting"]["large"]
    assert shown["fault"] == "account" and "Incorrect API key" in shown["why"]
    assert "sk-abc" not in shown["why"] and 0 < shown["left_s"] <= 30
    heal(site, provider)
    assert site.chat(ask()).headers["x-route-candidate"] == "large"


def test_a_candidate_rests_after_a_rate_limit_as_long_as_it_asks(site: Site, provider: ScriptedProvider) -> None:
    provider.on("large", refuse(429, headers=b"Retry-After: 27\r\n"))
    for _ in range(3):
        assert site.chat(ask()).headers["x-route-candidate"] == "middle"
    assert [call.model for call in provider.calls].count("large") == 1
    assert 20 < site.call("GET", "/readyz?verbose").json["resting"]["large"]["left_s"] <= 27
    answered = site.chat(ask(), X_Candidates="large")
    assert (answered.status, answered.error["code"]) == (429, "provider_rate_limited")
    assert 20 < int(answered.headers["retry-after"]) <= 27
    heal(site, provider)


def test_every_candidate_failing_is_502_and_costs_nothing(site: Site, provider: ScriptedProvider) -> None:
    provider.on("large", refuse(500))
    provider.on("middle", refuse(429))
    provider.on("small", refuse(503))
    answered = site.chat(ask())
    assert answered.status == 502
    assert answered.error["code"] == "provider_failed"
    assert answered.headers["x-route-reason"] == "routed;fallback=large:http_500,middle:http_429"
    site.assert_charged(answered, 0, 0, 0)
    heal(site, provider)


def test_every_candidate_rate_limited_is_429_that_may_be_tried_again(site: Site, provider: ScriptedProvider) -> None:
    for name in ("large", "middle", "small"):
        provider.on(name, refuse(429))
    answered = site.chat(ask())
    assert answered.status == 429
    assert answered.error["code"] == "provider_rate_limited"
    assert int(answered.headers["retry-after"]) >= 1
    assert "x-should-retry" not in answered.headers
    site.assert_charged(answered, 0, 0, 0)
    heal(site, provider)


@pytest.mark.slow
def test_pinned_candidate_is_asked_again_and_has_no_fallback(site: Site, provider: ScriptedProvider) -> None:
    provider.on("large", refuse(500))
    answered = site.chat(ask(model="large"))
    assert answered.status == 502
    assert answered.headers["x-route-reason"] == "pinned;retry=large:http_500,large:http_500"
    assert [call.model for call in provider.calls] == ["large"] * 3


@pytest.mark.parametrize(("stream", "limit"), [(True, "first_byte_s"), (False, "total_s")])
def test_provider_without_a_first_byte_in_time_is_cut_charged_and_the_next_serves(
    provider: ScriptedProvider, tmp_path: Path, stream: bool, limit: str
) -> None:
    provider.on("large", hang())
    with impatient_site(provider, tmp_path, **{limit: LIMIT_S}) as site:
        row = next(row for row in site.route(ask(stream))["candidates"] if row["candidate"] == "large")
        answered = site.chat(ask(stream))
        reason = "first_byte_timeout" if stream else "total_timeout"
        assert answered.headers["x-route-reason"] == f"routed;fallback=large:{reason}"
        assert provider.calls[0].left.wait(60)
        abandoned = round(row["expected_cost_usd"] * 1e9)
        site.assert_charged(answered, abandoned, charge("middle", *USAGE))


def test_a_whole_reply_may_take_longer_than_a_streams_first_byte(provider: ScriptedProvider, tmp_path: Path) -> None:
    provider.on("large", slowly(2 * LIMIT_S))
    with impatient_site(provider, tmp_path, first_byte_s=LIMIT_S) as site:
        answered = site.chat(ask())
        assert answered.headers["x-route-candidate"] == "large"
        assert answered.headers["x-route-reason"] == "routed"


def test_stream_that_stalls_ends_in_an_error_event(provider: ScriptedProvider, tmp_path: Path) -> None:
    provider.on("large", say_then_hang("abcd", "efgh"))
    with impatient_site(provider, tmp_path, idle_s=1.0) as site:
        with RawClient(site) as client:
            client.ask(ask(True))
            body = client.read_until(b"\r\n0\r\n\r\n")
        assert b"idle_timeout" in body
        assert b"[DONE]" not in body
        assert provider.calls[0].left.wait(60)
        site.ledger.assert_settled()
        assert site.ledger.charged() == charge("large", site.input_tokens(ask()), 2)


def test_provider_that_is_not_there_is_a_fallback_too(provider: ScriptedProvider, tmp_path: Path) -> None:
    with impatient_site(provider, tmp_path) as site:
        answered = site.chat(ask(), X_Quality_Weight="0")  # the cheapest first: it is the one that is not there
        assert answered.status == 200
        assert answered.headers["x-route-reason"] == "routed;fallback=small:connection_failed"
        site.assert_charged(answered, 0, charge("middle", *USAGE))


def test_candidate_that_keeps_failing_rests(site: Site, provider: ScriptedProvider) -> None:
    provider.on("large", refuse(500))
    for _ in range(5):
        assert site.chat(ask()).status == 200
    assert site.chat(ask()).headers["x-route-reason"] == "routed"
    assert [call.model for call in provider.calls].count("large") == 5
    reasons = {row["candidate"]: row["reason"] for row in site.route(ask())["candidates"]}
    assert reasons == {"middle": "feasible", "small": "feasible", "large": "resting_after_failures"}


def test_reply_without_usage_is_metered(site: Site, provider: ScriptedProvider) -> None:
    provider.on("large", answer(usage=None))
    for stream in (False, True):
        answered = site.chat(ask(stream))
        outcome = site.ledger.outcome(answered.headers["x-request-id"])
        assert outcome["metered"] == 1
        assert outcome["cost_nanousd"] == charge("large", site.input_tokens(ask()), len(TEXT) // 4)
    assert site.metric("loupe_metered_replies_total", candidate="large") == 2


def test_bill_over_the_hold_is_charged_the_hold_and_counted(site: Site, provider: ScriptedProvider) -> None:
    provider.on("large", answer(usage=(50_000, 9_000)))
    answered = site.chat(ask(max_tokens=10))
    held = site.ledger.outcome(answered.headers["x-request-id"])["held_nanousd"]
    assert held < charge("large", 50_000, 9_000)
    site.assert_charged(answered, held)
    assert answered.headers["x-route-cost"] == usd(held)
    assert site.metric("loupe_hold_exceeded_total", candidate="large") == 1


def test_official_client_sees_502_as_a_server_error(site: Site, provider: ScriptedProvider) -> None:
    for name in ("large", "middle", "small"):
        provider.on(name, refuse(500))
    with site.client() as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "How many?"}])
    assert caught.value.code == "provider_failed"
    assert caught.value.response.headers["x-request-id"].startswith("req_")
