"""The relay: whatever a reply does, the client gets a whole answer or a clear end, and the bill is what was used."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.billing.price import cost
from gateway.billing.reservation import Grant
from gateway.billing.usage import Usage
from gateway.billing.window import Budget
from gateway.errors import ProviderError, RequestError
from gateway.pipeline.charge import Charge
from gateway.pipeline.relay import relay_stream, relay_whole
from gateway.pipeline.state import Header, RequestState
from gateway.routing.decision import Preference, decide
from gateway.tenants.tenant import Tenant
from tests.fakes.requests import a_request
from tests.gateway.billing.makers import PRICE, candidate
from tests.gateway.providers.streams import DONE, STREAMS, ended, event, said, usage

HELD = 10**10
MORE_SIZES = [pytest.param(size, marks=pytest.mark.slow) for size in (7, 100)]
BROKEN = ProviderError("p: cut", reason="broke_off")


class Recorded:
    """Implements `gateway.providers.base.Exchange`: the given chunks, then the end or an error."""

    def __init__(self, chunks: Sequence[bytes], error: BaseException | None = None, *, offers: bool = False) -> None:
        self.left = list(chunks)
        self.error = error
        self.offers, self.taken = offers, 0
        self.take: Callable[[bytes], bool] = lambda _: False

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        while self.left and self.take(self.left[0]):
            self.left.pop(0)
            self.taken += 1
        if self.left:
            return self.left.pop(0)
        if self.error is not None:
            raise self.error
        return b""

    def offer(self, take: Callable[[bytes], bool]) -> None:
        if self.offers:
            self.take = take

    @property
    def ended(self) -> bool:
        return not self.left and self.error is None

    def close(self) -> None:
        self.left = []


@dataclass
class Client:
    """Implements `gateway.pipeline.relay.Sink`."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    length: int | None = None
    body: bytes = b""
    complete: bool = False
    client_left: bool = False
    is_slow: bool = False

    @property
    def started(self) -> bool:
        return self.status != 0

    async def start(self, status: int, content_type: bytes, headers: list[Header], length: int | None) -> None:
        assert not self.started
        self.status, self.headers, self.length = status, dict(headers), length

    async def write(self, data: bytes, *, last: bool = False) -> None:
        assert self.started
        assert not self.complete
        self.body += data
        self.complete = last

    @property
    def outlet(self) -> Client:
        return self

    @property
    def is_paused(self) -> bool:
        return self.is_slow

    def pass_on(self, data: bytes) -> None:
        assert not self.is_paused
        assert self.started
        assert not self.complete
        self.body += data

    async def refuse(self, error: RequestError, headers: list[Header]) -> None:
        raise AssertionError("the relay refuses nothing")


@dataclass
class Relayed:
    client: Client
    state: RequestState
    charge: Charge
    settled: list[int]
    error: BaseException | None

    @property
    def events(self) -> list[Any]:
        lines = [line[6:] for line in self.client.body.split(b"\n") if line.startswith(b"data: ")]
        return [json.loads(line) for line in lines if line != b"[DONE]"]


def relayed(exchange: Recorded, *, streamed: bool = True, wants_usage: bool = True, is_slow: bool = False) -> Relayed:
    """Relay a reply to a request that was decided, held and sent."""
    request = a_request(streamed=streamed, wants_usage=wants_usage)
    state = RequestState("req_1", Tenant("acme", ("a",), 0.8, budgets=(Budget(HELD),)), request, 0.0, 0.0)
    decision = decide(
        request.query, [candidate("a")], None, Preference(0.0), reference_cost=1, is_healthy=lambda _: True
    )
    charge = Charge(decision.choices[0], request.query)
    charge.granted = HELD
    state.chosen(decision.choices[0], Grant(HELD, 0))
    charge.sent()
    settled: list[int] = []

    async def settle() -> None:
        if not settled:
            settled.append(charge.amount)
            state.cost += charge.amount

    client, caught = Client(is_slow=is_slow), None
    try:
        asyncio.run((relay_stream if streamed else relay_whole)(state, exchange, charge, settle, client))
    except (ProviderError, ConnectionError) as error:
        caught = error
    return Relayed(client, state, charge, settled, caught)


def whole(**members: Any) -> bytes:
    message = {"role": "assistant", "content": "Hello world"}
    return json.dumps({"model": "served", "choices": [{"message": message}], **members}).encode()


@pytest.mark.parametrize("name", [name for name, stream in STREAMS.items() if stream.done and not stream.failed])
def test_a_complete_stream_ends_in_done_and_its_exact_cost(name: str) -> None:
    found = relayed(Recorded([STREAMS[name].data]))
    assert found.error is None
    assert (found.client.status, found.client.complete, found.state.outcome) == (200, True, "ok")
    assert found.client.body.endswith(DONE)
    assert found.events[-1]["x_route"] == {"candidate": "a", "cost_usd": found.settled[0] / 1e9, "request_id": "req_1"}
    tokens = STREAMS[name].usage
    if tokens is not None:
        assert found.settled == [cost(PRICE, *tokens)]
        assert not found.state.metered
    else:
        assert found.state.metered


@pytest.mark.parametrize("error", [None, BROKEN], ids=["to its end", "cut"])
@pytest.mark.parametrize("size", [None, 1, *MORE_SIZES], ids=lambda size: f"by {size}" if size else "by event")
@pytest.mark.parametrize("name", STREAMS)
def test_what_is_offered_as_it_comes_makes_the_same_reply(name: str, size: int | None, error: ProviderError) -> None:
    data = STREAMS[name].data
    chunks = [data[at : at + size] for at in range(0, len(data), size)] if size else re.split(rb"(?<=\n\n)", data)
    read, offered = relayed(Recorded(chunks, error)), relayed(Recorded(chunks, error, offers=True))
    slow = relayed(Recorded(chunks, error, offers=True), is_slow=True)
    for found in (offered, slow):
        assert (found.client.body, found.settled) == (read.client.body, read.settled)
        assert (found.state.outcome, found.state.usage) == (read.state.outcome, read.state.usage)


def test_most_of_a_stream_is_passed_on_as_it_comes() -> None:
    exchange = Recorded([*[said("word ")] * 10, ended(usage=usage()), DONE], offers=True)
    found = relayed(exchange)
    assert exchange.taken == 9  # the first begins the reply, the last are looked at
    assert found.client.body.count(b"word") == 10


def test_a_stream_without_usage_is_charged_by_our_own_count() -> None:
    found = relayed(Recorded([said("a" * 400), ended(), DONE]))
    assert found.settled == [cost(PRICE, found.state.usage.input_tokens, 100)]
    assert found.state.usage.output_tokens == 100


def test_usage_that_was_not_asked_for_is_billed_and_kept_back() -> None:
    found = relayed(Recorded([STREAMS["usage in an event of its own"].data]), wants_usage=False)
    assert found.settled == [cost(PRICE, 11, 7)]
    assert not any("usage" in payload for payload in found.events)


def test_a_stream_that_breaks_off_ends_in_an_error_and_costs_what_was_seen() -> None:
    found = relayed(Recorded([said("a" * 40)], BROKEN))
    assert found.error is None
    assert (found.client.complete, found.state.outcome, found.state.error_code) == (True, "cut_short", "broke_off")
    assert found.events[-1]["error"]["code"] == "broke_off"
    assert b"[DONE]" not in found.client.body
    assert found.settled == [cost(PRICE, found.state.usage.input_tokens, 10)]


def test_a_stream_that_just_ends_early_is_broken_off() -> None:
    found = relayed(Recorded([said("Hello")]))
    assert (found.state.outcome, found.state.error_code) == ("cut_short", "broke_off")
    assert found.events[-1]["error"]["code"] == "broke_off"


def test_a_break_after_done_is_no_break() -> None:
    found = relayed(Recorded([said("Hello"), ended(usage=usage()), DONE], BROKEN))
    assert (found.state.outcome, found.settled) == ("ok", [cost(PRICE, 11, 7)])
    assert found.client.body.endswith(DONE)


@pytest.mark.parametrize("chunks", [[], [b": ping\n"], [said("Hello")[:30]]])
@pytest.mark.parametrize("error", [None, BROKEN])
def test_a_stream_that_fails_before_it_began_is_another_choices_turn(
    chunks: list[bytes], error: ProviderError | None
) -> None:
    found = relayed(Recorded(chunks, error))
    assert isinstance(found.error, ProviderError)
    assert not found.client.started
    assert found.settled == []


def test_a_stream_that_begins_with_an_error_is_another_choices_turn() -> None:
    found = relayed(Recorded([event(b'{"error":{"message":"overloaded"}}')]))
    assert isinstance(found.error, ProviderError)
    assert found.error.reason == "error_event"
    assert not found.client.started


@pytest.mark.parametrize("rest", [[], [DONE], [ended(), DONE]], ids=["end", "done", "finished and done"])
def test_an_error_event_in_the_stream_is_told_once_and_is_no_success(rest: list[bytes]) -> None:
    found = relayed(Recorded([said("Hello"), event(b'{"error":{"message":"overloaded"}}'), *rest]))
    assert (found.state.outcome, found.state.error_code) == ("cut_short", "error_event")
    assert sum("error" in payload for payload in found.events) == 1
    assert b"[DONE]" not in found.client.body
    assert len(found.settled) == 1


def test_an_error_of_our_own_in_the_stream_leaves_a_bill_of_what_was_seen() -> None:
    found = relayed(Recorded([said("a" * 40)], ConnectionResetError()))
    assert isinstance(found.error, ConnectionResetError)
    assert found.charge.usage.output_tokens == 10
    assert found.state.outcome == "cut_short"


def test_a_whole_reply_is_sent_in_one_piece_with_its_exact_cost() -> None:
    body = whole(usage=usage())
    found = relayed(Recorded([body[:20], body[20:]]), streamed=False)
    assert found.error is None
    assert json.loads(found.client.body) == {**json.loads(body), "model": "a"}
    assert found.client.length == len(found.client.body)
    assert found.settled == [cost(PRICE, 11, 7)]
    assert found.client.headers[b"x-route-cost"] == b"0.000039"
    assert found.state.usage == Usage(11, 7)


def test_a_whole_reply_without_usage_is_charged_by_our_own_count() -> None:
    found = relayed(Recorded([whole()]), streamed=False)
    assert found.state.metered
    assert found.state.usage.output_tokens == 3


@pytest.mark.parametrize(
    ("chunks", "error", "reason"),
    [
        ([whole()[:30]], BROKEN, "broke_off"),
        ([whole()[:30]], None, "broken_reply"),
        ([b""], None, "broken_reply"),
        ([b"<html>"], None, "broken_reply"),
        ([b'{"error":{"message":"overloaded"}}'], None, "broken_reply"),
    ],
)
def test_a_whole_reply_that_is_none_is_never_sent(
    chunks: list[bytes], error: ProviderError | None, reason: str
) -> None:
    found = relayed(Recorded(chunks, error), streamed=False)
    assert isinstance(found.error, ProviderError)
    assert found.error.reason == reason
    assert not found.client.started
    assert found.charge.amount >= cost(PRICE, found.charge.usage.input_tokens, 0) > 0
