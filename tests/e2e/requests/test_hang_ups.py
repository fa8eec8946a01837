"""The client hangs up: the provider's call is cut, the hold is settled once, and what was seen is charged."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness.raw_client import RawClient
from tests.e2e.harness.scripted_provider import Call, ScriptedProvider, wait_until
from tests.e2e.harness.scripts import STREAM_HEAD, USAGE, chunk, hang, say_then_hang, stream_events
from tests.e2e.harness.site import Site, charge, serving_gateway, settings_for
from tests.fakes.encoder import FakeEncoder

PIECES = ("abcd", "efgh", "ijkl", "mnop", "qrst")


def ask(stream: bool) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": "How many?"}], "stream": stream}


@pytest.fixture(params=["closed", pytest.param("reset", marks=pytest.mark.slow)])
def hang_up(request: pytest.FixtureRequest) -> Iterator[str]:
    """How the client leaves."""
    yield "close" if request.param == "closed" else "reset"


@pytest.mark.parametrize("stream", [True, False])
def test_hang_up_before_the_first_byte_charges_the_input(
    site: Site, provider: ScriptedProvider, hang_up: str, stream: bool
) -> None:
    provider.on("large", hang())
    with RawClient(site) as client:
        client.ask(ask(stream))
        call = provider.wait_for_calls(1)[0]
        assert site.usage()["held"] > 0
        getattr(client, hang_up)()
        assert call.left.wait(60)
    _assert_left(site, charge("large", site.input_tokens(ask(stream)), 0))
    assert len(provider.calls) == 1, "nobody is there any more to answer"


def test_hang_up_in_the_middle_of_a_stream_charges_what_was_seen(
    site: Site, provider: ScriptedProvider, hang_up: str
) -> None:
    provider.on("large", say_then_hang(*PIECES))
    with RawClient(site) as client:
        client.ask(ask(True))
        client.read_until(PIECES[-1].encode())
        getattr(client, hang_up)()
        assert provider.calls[0].left.wait(60)
    _assert_left(site, charge("large", site.input_tokens(ask(True)), len(PIECES)))


def test_hang_up_in_the_middle_of_a_whole_reply_charges_its_bytes(site: Site, provider: ScriptedProvider) -> None:
    half = threading.Event()

    async def script(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n" + b"x" * 101)
        half.set()
        await call.until_left()

    provider.on("large", script)
    with RawClient(site) as client:
        client.ask(ask(False))
        assert half.wait(60)
        client.close()
        assert provider.calls[0].left.wait(60)
    wait_until(lambda: site.usage()["held"] == 0, "the settlement")
    min_budget = charge("large", site.input_tokens(ask(False)), 0)
    # The bytes may not have been read when the client left: then the input alone is charged.
    _assert_left(site, *(min_budget, charge("large", site.input_tokens(ask(False)), -(-101 // 4))))


@pytest.mark.parametrize("stream", [True, False])
def test_hang_up_right_after_the_last_byte_changes_nothing(site: Site, hang_up: str, stream: bool) -> None:
    last = b"data: [DONE]\n\n" if stream else b'"total_tokens": 29}}'
    for _ in range(10):
        with RawClient(site) as client:
            client.ask(ask(stream))
            client.read_until(last)
            getattr(client, hang_up)()
    assert site.ledger.last_outcome(10)["outcome"] == "ok"
    site.ledger.assert_settled()
    assert [entry.charge for entry in site.ledger.entries()] == [charge("large", *USAGE)] * 10
    assert site.metric("loupe_requests_total", tenant="first", candidate="large", outcome="ok") == 10


def test_hang_up_between_the_last_token_and_the_usage_charges_what_was_seen(
    site: Site, provider: ScriptedProvider
) -> None:
    async def script(call: Call) -> None:
        await call.send(STREAM_HEAD)
        for event in stream_events(call.json, "".join(PIECES), USAGE)[: len(PIECES) + 1]:
            await call.send(chunk(event))
        await call.until_left()

    provider.on("large", script)
    with RawClient(site) as client:
        client.ask(ask(True))
        client.read_until(PIECES[-1].encode())
        client.close()
        assert provider.calls[0].left.wait(60)
    _assert_left(site, charge("large", site.input_tokens(ask(True)), len(PIECES)))


def test_hang_up_before_the_body_is_whole_leaves_no_trace(site: Site, provider: ScriptedProvider) -> None:
    with RawClient(site) as client:
        client.ask(ask(False), sent=20)
        client.reset()
    with RawClient(site) as client:
        client.ask(ask(False), sent=0)
    assert site.chat(ask(False)).status == 200
    site.ledger.assert_settled()
    assert len(provider.calls) == len(site.ledger.entries()) == 1


@pytest.mark.slow
def test_hang_up_while_the_encoder_works_costs_nothing(provider: ScriptedProvider, tmp_path: Path) -> None:
    encoder = FakeEncoder(delay_s=0.5)
    with serving_gateway(settings_for(tmp_path, provider.url), tmp_path, encoder=encoder) as site:
        with RawClient(site) as client:
            client.ask(ask(False))
            wait_until(lambda: bool(encoder.text_batches), "the encoder's start")
        assert site.ledger.last_outcome(1)["outcome"] == "client_left"
        assert site.ledger.entries() == []
        assert not provider.calls
        site.assert_no_trace()


def test_hang_up_during_the_second_attempt_settles_both(site: Site, provider: ScriptedProvider) -> None:
    provider.on("large", say_nothing)
    provider.on("middle", say_then_hang(*PIECES))
    with RawClient(site) as client:
        client.ask(ask(True))
        client.read_until(PIECES[-1].encode())
        client.close()
        assert provider.wait_for_calls(2)[1].left.wait(60)
    outcome = _assert_left(site, charge("middle", site.input_tokens(ask(True)), len(PIECES)))
    assert [entry.charge for entry in site.ledger.entries()] == [0, outcome["cost_nanousd"]]


@pytest.mark.slow
def test_client_that_does_not_read_holds_the_provider_back_until_it_leaves(
    site: Site, provider: ScriptedProvider
) -> None:
    large = 64 * 1024 * 1024
    sent = 0
    stuck = threading.Event()

    async def script(call: Call) -> None:
        nonlocal sent
        piece = chunk(stream_events(call.json, "abcd", None)[0] * 400)
        await call.send(STREAM_HEAD)
        while sent < large and not call.gone.is_set():
            try:
                await asyncio.wait_for(call.send(piece), 0.5)
            except TimeoutError:  # the gateway takes no more
                stuck.set()
                break
            sent += len(piece)
        await call.until_left()

    provider.on("large", script)
    with RawClient(site) as client:
        client.ask(ask(True))
        client.read_until(b"abcd")
        assert stuck.wait(60), f"{sent} bytes were taken for a client that reads none"
        client.reset()
        assert provider.calls[0].left.wait(60)
    assert site.ledger.last_outcome(1)["outcome"] == "client_left"
    site.ledger.assert_settled()


def test_many_hang_ups_at_once_leave_nothing_held(site: Site, provider: ScriptedProvider) -> None:
    provider.on("large", hang())
    clients = [RawClient(site) for _ in range(24)]
    for number, client in enumerate(clients):
        client.ask(ask(number % 2 == 0))
    calls = provider.wait_for_calls(len(clients))
    for client in clients:
        client.reset()
    assert all(call.left.wait(60) for call in calls)
    site.ledger.last_outcome(len(clients))
    site.ledger.assert_settled()
    assert site.ledger.charged() == len(clients) * charge("large", site.input_tokens(ask(False)), 0)


async def say_nothing(call: Call) -> None:
    """The connection ends without a byte."""


def _assert_left(site: Site, *charges: int) -> dict[str, Any]:
    outcome = site.ledger.last_outcome(1)
    assert (outcome["outcome"], outcome["status"]) == ("client_left", 499)
    site.ledger.assert_settled()
    assert site.ledger.charged() == outcome["cost_nanousd"]
    assert outcome["cost_nanousd"] in charges
    assert site.usage()["spent"] == outcome["cost_nanousd"]
    return outcome
