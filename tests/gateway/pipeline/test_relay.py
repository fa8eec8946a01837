"""The relay: whatever a reply does, the client gets a whole answer or a clear end, and the bill is what was used."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
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
from tests.gateway.providers.harness.streams import DONE, STREAMS, chunk, ended, event, said, usage

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


class Lingering(Recorded):
    """A reply whose provider does not close: after its chunks it sends heartbeats, or nothing."""

    def __init__(self, chunks: Sequence[bytes], heartbeat: bytes = b"") -> None:
        super().__init__(chunks)
        self.heartbeat = heartbeat
        self.closed = False

    async def read(self) -> bytes:
        if self.left:
            return await super().read()
        await asyncio.sleep(0.001 if self.heartbeat else 3600)
        return self.heartbeat

    @property
    def ended(self) -> bool:
        return False


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

    patience = 0.01 if isinstance(exchange, Lingering) else 60.0
    relay = partial(relay_stream, after_finish_s=patience, drain_s=patience) if streamed else relay_whole
    client, caught = Client(is_slow=is_slow), None
    try:
        asyncio.run(relay(state, exchange, charge, settle, client))
    except (ProviderError, ConnectionError) as error:
        caught = error
    return Relayed(client, state, charge, settled, caught)


def whole(text: str = "Hello world", **members: Any) -> bytes:
    message = {"role": "assistant", "content": text}
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
    assert json.loads(found.client.body) == {
        **json.loads(body),
        "model": "a",
        "usage": {**usage(), "cost": 0.000039},
    }
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
    ],
)
def test_a_whole_reply_that_broke_off_is_never_sent_and_costs_what_came(
    chunks: list[bytes], error: ProviderError | None, reason: str
) -> None:
    found = relayed(Recorded(chunks, error), streamed=False)
    assert isinstance(found.error, ProviderError)
    assert found.error.reason == reason
    assert not found.client.started
    assert found.charge.amount >= cost(PRICE, found.charge.usage.input_tokens, 0) > 0


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>\n\n<p>busy</p>\n\n</html>", "error_body"),
        (b"upstream timed out", "error_body"),
        (b'{"error":{"message":"overloaded","code":503}}', "error_body"),
        (b'{"error":{"message":"overloaded","code":503}}\n\n', "error_body"),
        (b'{"model":"m","choices":[]}', "empty_reply"),
    ],
)
def test_what_is_no_reply_is_never_sent_and_costs_nothing(body: bytes, reason: str, streamed: bool) -> None:
    found = relayed(Recorded([body]), streamed=streamed)
    assert isinstance(found.error, ProviderError)
    assert (found.error.reason, found.error.body) == (reason, body)
    assert found.error.status == (503 if b"503" in body else None)
    assert not found.client.started
    assert found.charge.amount == 0


ROLE = chunk([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
AZURE = chunk([], prompt_filter_results=[])
ERROR = {"message": "overloaded", "code": 503}
IN_CHOICE = chunk([{"index": 0, "delta": {"content": ""}, "finish_reason": "error", "error": ERROR}])
FIRST_ERRORS = pytest.mark.parametrize("failure", [event(json.dumps({"error": ERROR}).encode()), IN_CHOICE])


@FIRST_ERRORS
@pytest.mark.parametrize("before", [[], [b": PROCESSING\n\n"], [ROLE], [AZURE, ROLE], [ROLE * 300]])
def test_an_error_before_any_words_is_another_choices_turn_and_costs_nothing(
    before: list[bytes], failure: bytes
) -> None:
    found = relayed(Recorded([*before, failure, DONE]))
    assert isinstance(found.error, ProviderError)
    assert (found.error.reason, found.error.status) == ("error_event", 503)
    assert json.loads(found.error.body) == {"error": ERROR}
    assert not found.client.started
    assert found.charge.amount == 0


@pytest.mark.parametrize("before", [b": PROCESSING\n\n", ROLE, AZURE, AZURE + ROLE])
@pytest.mark.parametrize("error", [None, BROKEN])
def test_what_says_nothing_commits_no_stream(before: bytes, error: ProviderError | None) -> None:
    found = relayed(Recorded([before], error))
    assert isinstance(found.error, ProviderError)
    assert found.error.reason == "broke_off"
    assert not found.client.started


def test_a_stream_without_a_word_or_a_finish_reason_is_no_reply() -> None:
    found = relayed(Recorded([AZURE, ROLE, DONE]))
    assert isinstance(found.error, ProviderError)
    assert found.error.reason == "empty_reply"
    assert found.charge.amount == 0


@FIRST_ERRORS
def test_an_error_after_words_is_told_and_costs_what_was_seen(failure: bytes) -> None:
    found = relayed(Recorded([said("a" * 40), failure, said("more")]))
    assert (found.state.outcome, found.state.error_code) == ("cut_short", "error_event")
    assert "error" in found.events[-1]
    assert found.settled == [cost(PRICE, found.state.usage.input_tokens, 10)]


@FIRST_ERRORS
def test_an_error_after_the_finish_reason_is_no_error(failure: bytes) -> None:
    found = relayed(Recorded([said("Hello"), ended(), failure], BROKEN))
    assert (found.error, found.state.outcome) == (None, "ok")
    assert found.client.body.endswith(DONE)
    assert found.events[-1]["choices"][0]["finish_reason"] == "stop"
    assert "x_route" in found.events[-1]


def test_a_drop_after_the_finish_reason_is_no_error() -> None:
    found = relayed(Recorded([said("Hello"), ended(usage=usage())], BROKEN))
    assert (found.error, found.state.outcome, found.settled) == (None, "ok", [cost(PRICE, 11, 7)])
    assert found.client.body.endswith(DONE)


@pytest.mark.parametrize("heartbeat", [b"", b": ping\n\n", AZURE])
@pytest.mark.parametrize("last", [[ended(usage=usage()), DONE], [ended(usage=usage())]], ids=["done", "finished"])
def test_a_reply_ends_though_its_provider_does_not_close(last: list[bytes], heartbeat: bytes) -> None:
    found = relayed(Lingering([said("Hello"), *last], heartbeat))
    assert (found.error, found.state.outcome, found.settled) == (None, "ok", [cost(PRICE, 11, 7)])
    assert found.client.body.endswith(DONE)
    assert "x_route" in found.events[-1]


def test_what_comes_after_done_is_thrown_away() -> None:
    exchange = Recorded([said("Hello"), ended(usage=usage()), DONE, said("more"), said("more")], BROKEN, offers=True)
    found = relayed(exchange)
    assert (found.error, found.state.outcome) == (None, "ok")
    assert found.client.body.endswith(DONE)
    assert b"more" not in found.client.body
    assert exchange.left == [], "so that the connection can be used again"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_usage_of_zeros_is_not_believed(streamed: bool) -> None:
    zeros = usage(0, 0)
    stream = [said("a" * 40), ended(), chunk(usage=zeros), DONE]
    found = relayed(Recorded(stream if streamed else [whole(usage=zeros)]), streamed=streamed)
    assert found.state.metered
    assert found.settled == [cost(PRICE, found.state.usage.input_tokens, 10 if streamed else 3)]


def test_a_usage_that_came_before_the_words_is_not_the_whole() -> None:
    """As of servers that pass on Anthropic's first event, which says one token of output."""
    early = [said("a" * 40, usage=usage(11, 1)), *[said("b" * 40)] * 200]
    whole_stream = relayed(Recorded([*early, ended(), DONE]))
    assert whole_stream.settled == [cost(PRICE, 11, 2_010)]
    assert whole_stream.state.metered
    cut = relayed(Recorded(early, BROKEN))
    assert cut.settled == [cost(PRICE, 11, 2_010)]
    short = relayed(Recorded([said("a" * 40, usage=usage(11, 1)), said("b" * 40)], BROKEN))
    assert short.settled == [cost(PRICE, 11, 20)], "cut short: the larger count, however little there was"


def test_our_own_count_does_not_correct_a_usage_that_is_near() -> None:
    for told in (7, 1_000):
        found = relayed(Recorded([*[said("a" * 40)] * 2, ended(usage=usage(11, told)), DONE]))
        assert found.settled == [cost(PRICE, 11, told)]


def test_a_whole_reply_of_many_words_and_one_token_is_counted() -> None:
    found = relayed(Recorded([whole("word " * 4_000, usage=usage(11, 1))]), streamed=False)
    assert found.settled == [cost(PRICE, 11, 5_000)]


def test_zeros_at_the_end_do_not_undo_a_usage_that_came_before() -> None:
    first = said("a" * 40, usage=usage(11, 7))
    found = relayed(Recorded([first, ended(), chunk(usage=usage(0, 0)), DONE]))
    assert not found.state.metered
    assert found.settled == [cost(PRICE, 11, 7)]


@pytest.mark.parametrize("first", [True, False])
def test_an_impossible_usage_gives_way_to_a_possible_one(first: bool) -> None:
    usages = [usage(11, 10**9), usage(11, 7)]
    one, other = usages if first else reversed(usages)
    found = relayed(Recorded([said("a" * 40, usage=one), ended(), chunk(usage=other), DONE]))
    assert found.settled == [cost(PRICE, 11, 7)]


@pytest.mark.parametrize("streamed", [False, True])
def test_an_impossible_usage_is_charged_what_is_held_and_noted(streamed: bool) -> None:
    tall = usage(11, 10**9)
    chunks = [said("Hello"), ended(usage=tall), DONE] if streamed else [whole(usage=tall)]
    found = relayed(Recorded(chunks), streamed=streamed)
    assert found.settled == [HELD]
    assert found.state.exceeds_hold


@pytest.mark.parametrize("wants_usage", [True, False])
def test_the_usage_of_a_stream_has_its_exact_cost(wants_usage: bool) -> None:
    told = {**usage(), "cost": 0.5}
    found = relayed(Recorded([said("Hello"), ended(), chunk(usage=told), DONE]), wants_usage=wants_usage)
    costs = [payload["usage"] for payload in found.events if "usage" in payload]
    expected = {**told, "cost": found.settled[0] / 1e9, "cost_details": {"provider_cost": 0.5}}
    assert costs == ([expected] if wants_usage else [])
    assert found.events[-1]["x_route"]["cost_usd"] == found.settled[0] / 1e9
