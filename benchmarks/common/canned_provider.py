"""A provider that answers every chat completion with the same bytes, fast enough not to be the measured bottleneck.

Run as `python -m benchmarks.common.canned_provider`: the provider listens on a free port of 127.0.0.1 and prints the
port. It counts requests by the body's `model` (`GET /counts`): an independent witness of the requests that the gateway
sent and must have charged. A streamed reply is sent one event at a time, each in its own turn of the event loop.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import Any, cast

import httptools
import uvloop

PROMPT_TOKENS = 210
CONTENT_CHUNKS = 20
COMPLETION_TOKENS = CONTENT_CHUNKS
LOOKED_AT_BYTES = 2_048
"""The length of each end of a body in which `model` and `stream` are looked for; the middle may be a large image."""

_WORDS = [f" word{number:02d}" for number in range(CONTENT_CHUNKS)]
_USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": COMPLETION_TOKENS,
    "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
}
_NAME = {"id": "chatcmpl-canned", "created": 1_767_225_600, "model": "canned"}


def whole_reply() -> bytes:
    """Return a complete chat completion, as JSON."""
    message = {"role": "assistant", "content": "".join(_WORDS)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({**_NAME, "object": "chat.completion", "choices": [choice], "usage": _USAGE}).encode()


def stream_events() -> list[bytes]:
    """Return the events of a streamed reply: content, the end of the choice, usage, `[DONE]`."""
    deltas: list[tuple[dict[str, str], str | None]] = [({"content": word}, None) for word in _WORDS]
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "usage": None}
        for delta, reason in [*deltas, ({}, "stop")]
    ]
    chunks.append({"choices": [], "usage": _USAGE})
    parts = [json.dumps({**_NAME, "object": "chat.completion.chunk", **chunk}).encode() for chunk in chunks]
    return [b"data: %s\n\n" % part for part in [*parts, b"[DONE]"]]


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _sized(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return head + body


_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
WHOLE = _sized(whole_reply())
_EVENTS = [_chunk(event) for event in stream_events()]
STREAM = [_STREAM_HEAD + _EVENTS[0], *_EVENTS[1:-1], _EVENTS[-1] + _chunk(b"")]


class Connection(asyncio.Protocol):
    """A keep-alive connection. It takes one request at a time, without pipelining."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._body: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports have no base class

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = []

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        if self._transport is None:
            return
        if self._parser.get_method() == b"GET":
            self._transport.write(_sized(json.dumps(self._counts).encode()))
            return
        ends = _ends(self._body)
        self._counts[_model(ends)] += 1
        if b'"stream":true' in ends or b'"stream": true' in ends:
            self._send_event(0)
        else:
            self._transport.write(WHOLE)

    def _send_event(self, index: int) -> None:
        if self._transport is None:
            return
        self._transport.write(STREAM[index])
        if index + 1 < len(STREAM):
            self._loop.call_soon(self._send_event, index + 1)


def _ends(parts: list[bytes]) -> bytes:
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    return body if len(body) <= 2 * LOOKED_AT_BYTES else body[:LOOKED_AT_BYTES] + body[-LOOKED_AT_BYTES:]


def _model(ends: bytes) -> str:
    _, _, after = ends.partition(b'"model":')
    return after.lstrip()[1:].partition(b'"')[0].decode("utf-8", "replace")


async def serve() -> None:
    """Serve until the process is ended."""
    counts: Counter[str] = Counter()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(counts), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(serve())
        except KeyboardInterrupt:
            sys.exit(130)
