"""Pings: they keep a silent stream's client, and decide nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.errors import ProviderError, ProviderFailure
from gateway.pipeline.keep_alive import PING, KeepAliveSink
from gateway.pipeline.state import RequestState
from gateway.providers.base import Exchange
from gateway.providers.stream_meter import StreamMeter
from tests.fakes.requests import a_request
from tests.fakes.sink import FakeSink
from tests.gateway.pipeline.house import ACME, House
from tests.gateway.providers.harness.streams import DONE, ended, said, usage

EVERY_S = 0.003


def watched(
    act: Callable[[KeepAliveSink, FakeSink, RequestState], Awaitable[None]], every_s: float = EVERY_S
) -> FakeSink:
    async def main() -> FakeSink:
        inner, state = FakeSink(), RequestState("req_1", ACME, a_request(streamed=True), 0.0, 0.0)
        sink = KeepAliveSink(inner, state, every_s)
        try:
            await act(sink, inner, state)
        finally:
            sink.stop()
        return inner

    return asyncio.run(main())


async def pinged(inner: FakeSink, times: int = 1) -> None:
    """Wait for so many pings."""
    while inner.body.count(PING) < times:
        await asyncio.sleep(EVERY_S)


def test_a_ping_starts_the_reply_and_to_the_relay_it_has_not_started() -> None:
    async def act(sink: KeepAliveSink, inner: FakeSink, _: RequestState) -> None:
        await pinged(inner, 2)
        assert inner.started
        assert not sink.started
        await sink.start(200, b"text/event-stream", [(b"x-route-candidate", b"a")], None)
        assert sink.started
        await sink.write(b"data: 1\n\n", last=True)

    found = watched(act)
    assert (found.status, found.headers) == (200, {"x-request-id": "req_1"})
    assert found.body.endswith(PING + b"data: 1\n\n")
    assert found.complete


def test_there_is_no_ping_after_the_end() -> None:
    async def act(sink: KeepAliveSink, inner: FakeSink, _: RequestState) -> None:
        await sink.start(200, b"text/event-stream", [], None)
        await sink.write(b"data: 1\n\n", last=True)
        await asyncio.sleep(5 * EVERY_S)

    assert watched(act).body == b"data: 1\n\n"


def test_a_refusal_after_a_ping_is_an_error_event() -> None:
    async def act(sink: KeepAliveSink, inner: FakeSink, _: RequestState) -> None:
        await pinged(inner)
        await sink.refuse(ProviderFailure("no candidate answered"), [])

    found = watched(act)
    assert found.complete
    told = json.loads(found.body.rpartition(b"data: ")[2])
    assert told["error"] == {
        "message": "no candidate answered",
        "type": "provider_error",
        "code": "provider_failed",
        "param": None,
    }


def test_a_refusal_before_any_ping_is_a_refusal() -> None:
    async def act(sink: KeepAliveSink, inner: FakeSink, _: RequestState) -> None:
        await sink.refuse(ProviderFailure("no candidate answered"), [])

    assert watched(act).status == 502


def test_what_the_meter_takes_is_no_silence() -> None:
    async def act(sink: KeepAliveSink, inner: FakeSink, state: RequestState) -> None:
        meter = StreamMeter("a", wants_usage=False)
        state.reply = meter
        await sink.start(200, b"text/event-stream", [], None)
        meter.feed(said("Hello"))
        sink.look()
        for _ in range(10):
            meter.feed_plain(said("word"))
            sink.look()
        await asyncio.sleep(0)
        assert PING not in inner.body
        for _ in range(3):
            sink.look()
        await asyncio.sleep(0)
        assert PING in inner.body

    watched(act, 3600.0)


class Silent:
    """Implements `gateway.providers.base.Provider`: each answer comes once the client was pinged once more."""

    def __init__(self, sink: FakeSink, answers: list[Exchange | ProviderError]) -> None:
        self._sink = sink
        self._answers = answers
        self.asked = 0

    async def send(self, body: bytes, request_id: str, *, streamed: bool = True) -> Exchange:
        self.asked += 1
        await pinged(self._sink, self.asked)
        answer = self._answers.pop(0)
        if isinstance(answer, ProviderError):
            raise answer
        return answer

    async def close(self) -> None: ...


def served(answers: list[Any]) -> tuple[FakeSink, House, Silent]:
    sink = FakeSink()
    provider = Silent(sink, answers)
    house = House(options={"ping_s": EVERY_S, "providers": {"p": provider}})
    house.serve(a_request(streamed=True), sink=sink)
    return sink, house, provider


class Sent:
    """Implements `gateway.providers.base.Exchange`: one chunk."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self) -> bytes:
        data, self._data = self._data, b""
        return data

    def offer(self, take: Callable[[bytes], bool]) -> None: ...

    @property
    def ended(self) -> bool:
        return not self._data

    def close(self) -> None: ...


def test_another_candidate_serves_after_a_ping() -> None:
    stream = said("Hello") + ended(usage=usage()) + DONE
    sink, house, provider = served([ProviderError("p: busy", reason="http_503"), Sent(stream)])
    assert provider.asked == 2
    assert sink.body.count(PING) == 2
    assert sink.body.endswith(DONE)
    assert (house.record.outcome, house.record.status) == ("ok", 200)


def test_when_no_candidate_serves_after_a_ping_the_stream_ends_in_an_error() -> None:
    sink, house, _ = served([ProviderError("p: busy", reason="http_503")] * 3)
    assert sink.complete
    assert json.loads(sink.body.rpartition(b"data: ")[2])["error"]["code"] == "provider_failed"
    assert b"[DONE]" not in sink.body
    assert (house.record.outcome, house.record.status) == ("failed", 502)
