"""The load client and the canned provider, against each other."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import cache
from typing import cast

import pytest

from benchmarks.common.canned_provider import Connection, stream_events, whole_reply
from benchmarks.common.load_client import Load, LoadError, Measured, drive
from benchmarks.overhead.workloads import IMAGE_BYTES, TEXT_BYTES, workloads

DRAWN = cache(workloads)
"""By their seed; a good third of a second each."""
REQUEST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"


def test_canned_replies_are_what_openai_sends() -> None:
    whole = json.loads(whole_reply())
    events = [event.removeprefix(b"data: ").strip() for event in stream_events()]
    chunks = [json.loads(event) for event in events[:-1]]

    assert events[-1] == b"[DONE]"
    content = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1])
    assert content == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["usage"] == whole["usage"]


def test_every_request_is_answered_and_counted_by_its_model() -> None:
    async def run() -> tuple[list[Measured], Counter[str]]:
        counts: Counter[str] = Counter()
        async with _serving(lambda: Connection(counts)) as port:
            loads = [Load(kind.requests, kind.ending, 3, 10, 20) for kind in DRAWN(1)]
            return [await drive(port, load) for load in loads], counts

    measured, counts = asyncio.run(run())

    assert [len(m.latencies) for m in measured] == [10, 10, 10]
    assert counts == {"auto": 30}
    assert all(0 < first <= last for m in measured for first, last in zip(m.first_bytes, m.latencies, strict=True))


def test_workloads_have_the_sizes_that_the_report_says() -> None:
    text, image, stream = (json.loads(kind.requests[0].partition(b"\r\n\r\n")[2]) for kind in DRAWN(1))

    assert len(text["messages"][0]["content"]) == TEXT_BYTES
    assert stream["stream"] is True
    url = image["messages"][0]["content"][1]["image_url"]["url"]
    assert abs(len(url) * 3 / 4 - IMAGE_BYTES) < 0.03 * IMAGE_BYTES


@pytest.mark.slow
def test_workloads_of_one_seed_are_the_same_and_of_two_are_not() -> None:
    assert workloads(1)[0] == workloads(1)[0]
    assert workloads(1)[0] != workloads(2)[0]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\n{}", id="not a 200"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{ ", id="a body that ends otherwise"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", id="a body that is cut short"),
        pytest.param(b"hello\r\n\r\n", id="no HTTP"),
    ],
)
def test_wrong_reply_ends_the_load(reply: bytes) -> None:
    with pytest.raises(LoadError):
        asyncio.run(_drive_against([reply], Load([REQUEST], b"}", 1, 5, 5)))


def test_load_ends_at_its_time_and_still_reads_what_is_on_its_way() -> None:
    reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"

    measured = asyncio.run(_drive_against([reply] * 10, Load([REQUEST], b"}", 1, 1_000, 0)))

    assert len(measured.latencies) == 1


class _Scripted(asyncio.Protocol):
    """Answers with these bytes, one after the other, and then hangs up."""

    def __init__(self, replies: Iterable[bytes]) -> None:
        self._replies = list(replies)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._replies.pop(0))
        if not self._replies:
            self._transport.close()


async def _drive_against(replies: Iterable[bytes], load: Load) -> Measured:
    async with _serving(lambda: _Scripted(replies)) as port:
        return await drive(port, load)


class _Watched(asyncio.Protocol):
    """Another protocol, and when its connection was closed."""

    def __init__(self, inner: asyncio.Protocol) -> None:
        self._inner = inner
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._inner.connection_lost(error)
        self.closed.set_result(None)


@asynccontextmanager
async def _serving(protocol: Callable[[], asyncio.Protocol]) -> AsyncIterator[int]:
    """A server on a port of its own; at the end it waits until every connection is closed on its side too."""
    connections: list[_Watched] = []

    def connected() -> _Watched:
        connections.append(_Watched(protocol()))
        return connections[-1]

    async with await asyncio.get_running_loop().create_server(connected, "127.0.0.1", 0) as server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            await asyncio.gather(*(connection.closed for connection in connections))
