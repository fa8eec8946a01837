"""All fake providers as one process: an HTTP proxy that answers for each of their hosts, and keeps their own books.

Run as `python -m benchmarks.providers.server SEED`: it prints its port. `GET /books` gives what was served and billed,
what was refused, what failed, and when each provider was out of service.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import httptools
import uvloop

from benchmarks.providers.asked import Asked
from benchmarks.providers.families import FAMILIES, UNKNOWN, Family
from benchmarks.providers.refusals import Refusal, anthropic_credit, openai_error
from benchmarks.providers.replies import Reply, reply_to

FAULT_SHARE = 0.01
"""The share of requests that meet each of three transient faults: 503, a hang-up, an error with status 200."""
LIMIT_SHARE = 0.002
"""The share of requests after which a provider answers 429 to all for RATE_LIMIT_S."""
RATE_LIMIT_S = 1
CREDIT = 150
"""Requests that Anthropic's account pays for; then every request is refused."""
HANG_UP = "hang-up"
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_T = TypeVar("_T")
_BY_ADDRESS = {(f.key, f.model): f for f in FAMILIES}


@dataclass
class Books:
    """What the providers wrote down; times are of the machine's monotonic clock, in seconds."""

    served: list[dict[str, Any]] = field(default_factory=list)
    refused: list[tuple[str, str, int, str]] = field(default_factory=list)
    """(request id, provider, status, body)"""
    failed: list[tuple[str, str, str]] = field(default_factory=list)
    """(request id, provider, fault)"""
    resting: list[tuple[str, float, float]] = field(default_factory=list)
    """(provider, from, until): no request is served in this time."""


class Pool:
    """The providers' behaviour: what to answer to a body at a moment."""

    def __init__(self, seed: int) -> None:
        self.books = Books()
        self._seed = seed
        self._limited: dict[str, float] = {}
        self._credit = CREDIT

    def answer(self, family: Family, body: bytes, request_id: str) -> Refusal | Reply | str | bytes:
        """Return a refusal, a reply, HANG_UP, or the first event of a stream that is an error."""
        asked = Asked(json.loads(body))
        draw = random.Random(f"{self._seed} {family.name} {body.decode()}")
        now = time.monotonic()
        if now < self._limited.get(family.name, 0.0):
            return self._transient(family, request_id, "limited still", _limited())
        if family.name == "anthropic" and not self._credit:
            return self._refuse(family, request_id, anthropic_credit())
        refusal = family.refuses(asked)
        if refusal is not None:
            return self._refuse(family, request_id, refusal)
        fault = draw.random()
        if fault < LIMIT_SHARE:
            self._limited[family.name] = now + RATE_LIMIT_S
            self.books.resting.append((family.name, now, now + RATE_LIMIT_S))
            return self._transient(family, request_id, "429", _limited())
        if fault < LIMIT_SHARE + FAULT_SHARE:
            return self._transient(family, request_id, "503", openai_error(503, "The engine is currently overloaded."))
        if fault < LIMIT_SHARE + 2 * FAULT_SHARE:
            return self._transient(family, request_id, HANG_UP, HANG_UP)
        if fault < LIMIT_SHARE + 3 * FAULT_SHARE and (asked.streams or family.usage == "openrouter"):
            return self._transient(family, request_id, "error in a 200", _told(family, asked))
        reply = reply_to(family, asked, draw)
        self._bill(family, reply, request_id)
        return reply

    def _bill(self, family: Family, reply: Reply, request_id: str) -> None:
        row = {"id": request_id, "provider": family.name, "nanodollars": reply.bill, "told": reply.tells_usage}
        row |= {"inputs": reply.inputs, "outputs": reply.said + reply.thoughts, "streamed": reply.asked.streams}
        row["input_nanodollars"] = family.bill(reply.inputs, 0, 0)
        self.books.served.append(row)
        if family.name == "anthropic":
            self._credit -= 1
            if not self._credit:
                self.books.resting.append((family.name, time.monotonic(), 1e18))

    def _refuse(self, family: Family, request_id: str, refusal: Refusal) -> Refusal:
        self.books.refused.append((request_id, family.name, refusal.status, json.dumps(refusal.body)[:300]))
        return refusal

    def _transient(self, family: Family, request_id: str, fault: str, answer: _T) -> _T:
        self.books.failed.append((request_id, family.name, fault))
        return answer


def _limited() -> Refusal:
    return openai_error(429, "Rate limit reached for requests", code="rate_limit_exceeded")


def _told(family: Family, asked: Asked) -> bytes:
    """Return an error with status 200: as a stream's first event, or within OpenRouter's only choice."""
    error = {"message": "Upstream is overloaded", "code": 502}
    if asked.streams:
        return b"data: %b\n\n" % json.dumps({"error": error}).encode()
    choice = {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "error", "error": error}
    return json.dumps({"id": "gen-1", "model": family.model, "choices": [choice]}).encode()


class Connection(asyncio.Protocol):
    """A keep-alive connection of the gateway's; one request at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._request_id = ""
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url, self._body = b"", []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-request-id":
            self._request_id = value.decode()

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        if self._transport is None:
            return
        if self._parser.get_method() == b"GET":
            self._send(200, json.dumps(self._pool.books.__dict__).encode())
            return
        body = b"".join(self._body)
        parts = urlsplit(self._url.decode())
        host = (parts.hostname or "").removesuffix(UNKNOWN)
        address = f"{host}{parts.path.removesuffix('/chat/completions')}"
        family = _BY_ADDRESS.get((address, json.loads(body)["model"]))
        if family is None:
            self._send(404, b'{"error":{"message":"no such provider"}}')
            return
        self._answer(self._pool.answer(family, body, self._request_id), streams=bool(json.loads(body).get("stream")))

    def _answer(self, answer: Refusal | Reply | str | bytes, *, streams: bool) -> None:
        assert self._transport is not None
        if isinstance(answer, Refusal):
            self._send(answer.status, json.dumps(answer.body).encode())
        elif isinstance(answer, str):
            self._transport.close()
        elif isinstance(answer, bytes) and streams:
            self._stream([answer])
        elif isinstance(answer, bytes):
            self._send(200, answer)
        elif streams:
            self._stream(list(answer.events()))
        else:
            self._send(200, answer.whole())

    def _send(self, status: int, body: bytes) -> None:
        assert self._transport is not None
        wait = b"retry-after: %d\r\n" % RATE_LIMIT_S if status == 429 else b""
        head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
        self._transport.write(head % (status, wait, len(body)) + body)

    def _stream(self, events: list[bytes]) -> None:
        """Send the events a few at a time, each group in its own turn of the loop."""
        assert self._transport is not None
        self._transport.write(_STREAM)
        self._loop.call_soon(self._next, events, 0)

    def _next(self, events: list[bytes], at: int) -> None:
        if self._transport is None:
            return
        group = events[at : at + 4]
        self._transport.write(b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in group))
        if at + 4 < len(events):
            self._loop.call_soon(self._next, events, at + 4)
        else:
            self._transport.write(b"0\r\n\r\n")


async def serve(seed: int) -> None:
    """Serve until the process is ended."""
    pool = Pool(seed)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(pool), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
