"""The provider breaks off: before its first byte the next choice answers, after it the client is told, never misled."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from tests.e2e.harness.raw_client import RawClient
from tests.e2e.harness.scripted_provider import Call, Script, ScriptedProvider
from tests.e2e.harness.scripts import (
    END,
    STREAM_HEAD,
    TEXT,
    USAGE,
    answer,
    break_off,
    chunk,
    end_early,
    event,
    reply_to,
    say,
    stream_events,
    wait_then,
)
from tests.e2e.harness.site import Site, charge, usd

Cut = Callable[[int], Script]
CUTS = [pytest.param(break_off, id="reset"), pytest.param(end_early, id="ended")]

NO_FIRST_BYTE = [
    (b"", "connection_failed"),
    (b"\x16\x03\x01 this is no HTTP\r\n\r\n", "connection_failed"),
    (b"HTTP/1.1 200 OK\r\nContent-Ty", "connection_failed"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "empty_reply"),
    (STREAM_HEAD, "connection_failed"),
    (STREAM_HEAD + END, "empty_reply"),
    (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n", "http_302"),
]
"""What a provider may send instead of a first byte of a reply, and what it is called."""


def ask(stream: bool = False, **more: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": "How many?"}], "stream": stream, **more}


@pytest.mark.parametrize("stream", [True, False])
def test_break_off_before_the_first_byte_goes_to_the_next_choice(
    site: Site, provider: ScriptedProvider, stream: bool
) -> None:
    for reply, reason in NO_FIRST_BYTE:
        provider.forget()
        provider.on("large", say(reply), answer())
        answered = site.chat(ask(stream))
        assert answered.status == 200
        assert answered.headers["x-route-candidate"] == "middle"
        assert answered.headers["x-route-reason"] == f"routed;fallback=large:{reason}"
        assert [call.model for call in provider.calls] == ["large", "middle"]
        site.assert_charged(answered, 0, charge("middle", *USAGE))
        site.chat(ask(model="large"))  # well again, so that its failures never are five in a row


@pytest.mark.parametrize("stream", [True, False])
def test_all_choices_breaking_off_before_the_first_byte_is_502(
    site: Site, provider: ScriptedProvider, stream: bool
) -> None:
    for name in ("large", "middle", "small"):
        provider.on(name, say(b""))
    answered = site.chat(ask(stream))
    assert answered.status == 502
    assert answered.error["code"] == "provider_failed"
    assert answered.headers["x-route-reason"].count("connection_failed") == 2
    assert answered.headers["x-budget-remaining"] == "100"
    site.assert_charged(answered, 0, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("cut", CUTS)
def test_whole_reply_cut_at_any_byte_is_never_sent(site: Site, provider: ScriptedProvider, cut: Cut) -> None:
    size = len(reply_to({"model": "large"}))
    for at in [*range(0, size, 29), size - 2, size - 1]:
        provider.on("large", cut(at), answer())
        site.chat({**ask(), "model": "large"})  # whole again, so that its failures never are five in a row
        provider.on("large", cut(at), answer())
        answered = site.chat(ask())
        assert answered.status == 200
        assert answered.json["choices"][0]["message"]["content"] == TEXT
        assert answered.json["model"] == answered.headers["x-route-candidate"] == "middle", f"cut at {at} of {size}"
    site.ledger.assert_settled()


@pytest.mark.slow
@pytest.mark.parametrize("cut", CUTS)
def test_stream_cut_at_any_byte_ends_in_an_error_or_starts_anew(
    site: Site, provider: ScriptedProvider, cut: Cut
) -> None:
    request = {"model": "large", "stream": True, "stream_options": {"include_usage": True}}
    size = len(reply_to(request))
    inputs = site.input_tokens(ask(True))
    ends = set()
    for at in [*range(0, size, 61), size - 20, size - 6, size - 1]:
        provider.on("large", answer(), cut(at))
        site.chat({**ask(), "model": "large"})  # so that its failures never are five in a row
        answered = site.chat(ask(True))
        seen = Seen.of(answered.body)
        ends.add(seen.end)
        assert answered.status == 200
        assert seen.models == {answered.headers["x-route-candidate"]}
        assert TEXT.startswith(seen.text)
        assert seen.end != "neither", f"cut at {at} of {size}"
        if seen.end == "done":
            assert seen.text == TEXT
        first = site.ledger.entries(answered.headers["x-request-id"])[0]
        if seen.models == {"middle"}:
            assert first.charge in (0, charge("large", inputs, 0)), "no more than its input"
        else:
            metered = charge("large", inputs, len(seen.text) // 4)
            assert first.charge in (metered, charge("large", *USAGE)), f"cut at {at} of {size}"
    assert ends == {"done", "error"}
    site.ledger.assert_settled()


def test_candidate_that_keeps_breaking_off_midway_rests(site: Site, provider: ScriptedProvider) -> None:
    provider.on("large", end_early(900))
    for _ in range(5):
        answered = site.chat(ask(True))
        assert answered.headers["x-route-candidate"] == "large"
        assert Seen.of(answered.body).end == "error"
    assert site.chat(ask(True)).headers["x-route-candidate"] == "middle"


def test_official_client_raises_when_a_stream_breaks_off(site: Site, provider: ScriptedProvider) -> None:
    provider.on("large", break_off(900))
    with site.client() as client:
        stream = client.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": "How many?"}], stream=True
        )
        with pytest.raises(openai.APIError, match=r"pool|ended early|broke"):
            for _ in stream:
                pass
    outcome = site.ledger.last_outcome(1)
    assert (outcome["outcome"], outcome["status"]) == ("cut_short", 200)
    assert outcome["error_code"] in ("broke_off", "connection_failed")


def test_reply_that_is_no_completion_is_never_sent(site: Site, provider: ScriptedProvider) -> None:
    for body in (
        b"<html>Bad gateway</html>",
        b"{}",
        b'{"error": {"message": "x"}}',
        b'"text"',
        b"[]",
        b'{"choices": [',
    ):
        for stream in (False, True):
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
            provider.on("large", say(head + body), answer())
            answered = site.chat(ask(stream))
            assert answered.status == 200
            assert answered.headers["x-route-candidate"] == "middle", answered.body
            assert TEXT[:4].encode() in answered.body
            site.chat(ask(model="large"))  # well again, so that its failures never are five in a row
    site.ledger.assert_settled()


def test_broken_whole_reply_is_charged_what_came_and_the_next_choice_serves(
    site: Site, provider: ScriptedProvider
) -> None:
    provider.on("large", end_early(300))
    answered = site.chat(ask())
    came = 300 - reply_to({"model": "large"}).index(b"\r\n\r\n") - 4
    first = charge("large", site.input_tokens(ask()), -(-came // 4))
    site.assert_charged(answered, first, charge("middle", *USAGE))
    assert answered.headers["x-route-cost"] == usd(first + charge("middle", *USAGE))


def test_error_event_before_any_other_goes_to_the_next_choice(site: Site, provider: ScriptedProvider) -> None:
    error = event({"error": {"message": "overloaded", "type": "server_error", "code": "overloaded", "param": None}})
    provider.on("large", say(STREAM_HEAD + chunk(error) + END))
    answered = site.chat(ask(True))
    assert answered.headers["x-route-reason"] == "routed;fallback=large:error_event"
    assert Seen.of(answered.body).end == "done"
    site.ledger.assert_settled()


def test_error_event_in_the_middle_is_sent_on_and_ends_the_stream(site: Site, provider: ScriptedProvider) -> None:
    go_on = threading.Event()
    error = {"message": "overloaded", "type": "server_error", "code": "overloaded", "param": None}

    async def script(call: Call) -> None:
        pieces = stream_events(call.json, TEXT, None)[:3]
        await call.send(STREAM_HEAD + b"".join(map(chunk, pieces)))
        await wait_then(go_on, say(chunk(event({"error": error})) + END))(call)

    provider.on("large", script)
    with RawClient(site) as client:
        client.ask(ask(True))
        client.read_until(b"kens")
        go_on.set()
        body = client.read_until(b"\r\n0\r\n\r\n")
    assert b"[DONE]" not in body
    assert body.count(b'"error"') == 1
    assert b"overloaded" in body
    site.ledger.assert_settled()
    assert site.ledger.charged() == charge("large", site.input_tokens(ask(True)), 3)
    assert site.ledger.last_outcome(1)["outcome"] == "cut_short"


def test_break_off_leaves_the_fallback_what_is_left_of_the_cap(site: Site, provider: ScriptedProvider) -> None:
    provider.on("large", end_early(300))
    prompt = ask(max_tokens=60)
    table = site.route(prompt)["candidates"]
    max_cost = {row["candidate"]: round(row["ceiling_usd"] * 1e9) for row in table}
    provider.on("middle", end_early(300))
    answered = site.chat(prompt, X_Budget=usd(max_cost["large"]))
    assert answered.status == 200
    entries = site.ledger.entries(answered.headers["x-request-id"])
    spent = 0
    for entry in entries:
        assert entry.amount + spent <= max_cost["large"]
        spent += entry.charge or 0
    assert spent <= max_cost["large"]


@dataclass(frozen=True)
class Seen:
    """What a client makes of a stream: its text, who it says it is from, and how it ended."""

    text: str
    models: set[str]
    end: str

    @classmethod
    def of(cls, body: bytes) -> Seen:
        text, models, end = "", set(), "neither"
        for line in body.decode().splitlines():
            if not line.startswith("data: "):
                continue
            assert end == "neither", "nothing comes after the end"
            if line == "data: [DONE]":
                end = "done"
                continue
            payload = json.loads(line[6:])
            if "error" in payload:
                end = "error"
                continue
            models.add(payload["model"])
            text += "".join(choice["delta"].get("content") or "" for choice in payload["choices"])
        return cls(text, models, end)
