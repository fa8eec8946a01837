"""The pool as a raw ASGI application: parse a request, find its cell in the table, answer and count it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Literal
from urllib.parse import parse_qs

import msgspec
import numpy as np

from gateway.errors import ConfigError
from gateway.providers.replay.exchange import JSON_HEADERS, ReplayExchange, Wait, seconds_or_gone
from gateway.providers.replay.faults import Faults
from gateway.providers.replay.reply import SimulatedReply, cut, right_answer, speak, wrong_answer
from gateway.providers.replay.schema import ReplayRequest, decode_request, encode, error_body
from gateway.providers.replay.table import DEFAULT_COMPLETION_TOKENS, ReplayQuery, ReplayTable
from gateway.providers.replay.tally import Counts, ServedRequest

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

OWNER = "loupe-replay (simulated)"
ABOUT = "A simulated candidate pool: it replays an outcome table. No model is behind it."
UNKNOWN_IMAGE_TOKENS = 765
CHARACTERS_PER_TOKEN = 4
ANSWER_TO_UNKNOWN = "this query is not in the replayed table"


class ReplayApp:
    """A simulated pool. `faults` may be replaced while the pool serves; `counts` says what the pool served.

    Args:
        table: the outcome table to replay.
        faults: the delays and faults to inject.
        unknown: refuse a query that is not in the table (400 `unknown_query`), or give it a default answer.
        chunk_tokens: tokens in one chunk of a stream.
        seed: seed of the random draws that decide which requests get faults.
        wait: the function that waits the seconds of `faults`; may be replaced while the pool serves.
    """

    def __init__(
        self,
        table: ReplayTable,
        *,
        faults: Faults | None = None,
        unknown: Literal["refuse", "answer"] = "refuse",
        chunk_tokens: int = 16,
        seed: int = 0,
        wait: Wait = seconds_or_gone,
    ) -> None:
        if chunk_tokens < 1:
            raise ConfigError(f"chunk_tokens is {chunk_tokens}: it must be at least 1")
        self.table = table
        self.faults = faults or Faults()
        self.unknown = unknown
        self.chunk_tokens = chunk_tokens
        self.wait = wait
        self.counts = Counts(table.candidates)
        self._generator = np.random.default_rng(seed)
        self._serial = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _serve_lifespan(receive, send)
            return
        path, method = scope["path"], scope["method"]
        if path == "/v1/chat/completions" and method == "POST":
            await self._complete(scope, receive, send)
        elif method == "GET" and path in ("/", "/v1/models", "/replay/counts"):
            await _send_json(send, 200, encode(self._describe(path, scope)))
        else:
            message = f"no such route: {method} {path[:100]}"
            await _send_json(send, 404, error_body(message, "invalid_request_error", "not_found"))

    def _describe(self, path: str, scope: Scope) -> dict[str, Any]:
        if path == "/replay/counts":
            log = parse_qs(scope["query_string"].decode("latin-1")).get("log", ["0"])[0]
            return self.counts.as_dict(log=int(log) if log.isdecimal() else 0)
        names = self.table.candidates
        if path == "/v1/models":
            models = [{"id": name, "object": "model", "created": 0, "owned_by": OWNER} for name in names]
            return {"object": "list", "data": models}
        return {"about": ABOUT, "candidates": names, "queries": len(self.table.queries)}

    async def _complete(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            request = decode_request(await _read_body(receive))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            body = error_body(f"the body is not a chat completion request: {error}", "invalid_request_error", None)
            await _send_json(send, 400, body)
            return
        if request.model not in self.counts.tallies:
            message = f"no such model: {request.model[:100]}"
            body = error_body(message, "invalid_request_error", "model_not_found", "model")
            await _send_json(send, 404, body)
            return
        self._serial += 1
        faults = self.faults if self.faults.concern(request.model) else Faults()
        exchange = ReplayExchange(
            request=request,
            faults=faults,
            draw=faults.draw(self._generator),
            chunk_tokens=self.chunk_tokens,
            serial=self._serial,
            headers=scope["headers"],
            receive=receive,
            send=send,
            wait=self.wait,
        )
        served = await self._answer(exchange, request)
        self.counts.add(served)

    async def _answer(self, exchange: ReplayExchange, request: ReplayRequest) -> ServedRequest:
        choices = 1 if request.n is None else request.n
        limit = request.limit()
        if not 1 <= choices <= 128:
            return await exchange.refuse(f"n is {choices}: it must be between 1 and 128", None, "n")
        if limit is not None and limit < 1:
            return await exchange.refuse(f"max_tokens is {limit}: it must be at least 1", None, "max_tokens")
        if not request.messages:
            return await exchange.refuse("messages is empty", None, "messages")
        question, images = _asked(request)
        query = self.table.find(question, images)
        cell = None if query is None else query.cells.get(request.model)
        if query is None or cell is None:
            if self.unknown == "refuse":
                message = f"the replayed table holds no outcome of {request.model} for this query"
                return await exchange.refuse(message, "unknown_query", "messages")
            spoken = cut(SimulatedReply(ANSWER_TO_UNKNOWN, DEFAULT_COMPLETION_TOKENS), limit)
            return await exchange.serve(spoken, None, _prompt_tokens(request, query, images))
        known = right_answer(query.answer)
        answer = known if cell.is_right else wrong_answer(query.answer, f"{request.model}\n{query.id}")
        text = speak(answer, cell.completion_tokens, limit)
        if request.wants_json():
            text = cut(SimulatedReply(encode({"answer": answer}).decode(), cell.completion_tokens), limit)
        prompt = cell.prompt_tokens or _prompt_tokens(request, query, images)
        return await exchange.serve(text, answer, prompt)


def _asked(request: ReplayRequest) -> tuple[str, list[str]]:
    """Return the last user message's text, and its images, or else the images of the latest message that has some."""
    users = [message for message in request.messages if message.role == "user"] or request.messages
    images = next((found for message in reversed(users) if (found := message.images())), [])
    return users[-1].text(), images


def _prompt_tokens(request: ReplayRequest, query: ReplayQuery | None, images: list[str]) -> int:
    """Return the estimate of prompt tokens: a token per four characters and per 750 pixels; at least one."""
    characters = sum(len(message.text()) for message in request.messages)
    if not images:
        pictured = 0
    elif query is None:
        pictured = UNKNOWN_IMAGE_TOKENS * len(images)
    else:
        pictured = query.image_tokens * len(images)
    return max(1, math.ceil(characters / CHARACTERS_PER_TOKEN) + pictured)


async def _read_body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body
    parts = [body]
    while message.get("more_body", False):
        message = await receive()
        parts.append(message.get("body", b""))
    return b"".join(parts)


async def _send_json(send: Send, status: int, body: bytes) -> None:
    headers = [*JSON_HEADERS, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _serve_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
