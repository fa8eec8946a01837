"""One exchange of the pool: the reply, whole or streamed, with its faults, until it is sent or cut off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.providers.replay.faults import Draw, Faults
from gateway.providers.replay.reply import SimulatedReply
from gateway.providers.replay.schema import (
    Chunk,
    ChunkChoice,
    Completion,
    Delta,
    Function,
    ReplayChoice,
    ReplayMessageOut,
    ReplayRequest,
    ReplayUsage,
    ToolCall,
    encode,
    error_body,
    event,
)
from gateway.providers.replay.tally import ServedRequest

MARK = (b"x-loupe-replay", b"simulated")
JSON_HEADERS = ((b"content-type", b"application/json"), MARK)
STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    MARK,
)
DONE = b"data: [DONE]\n\n"


class ReplayHangUp(Exception):
    """The client closed its connection before the reply's end."""


Wait = Callable[[asyncio.Task[MutableMapping[str, Any]], float], Awaitable[object]]
"""A function that waits the given seconds, or until the task is done; the task ends when the client leaves."""


async def seconds_or_gone(gone: asyncio.Task[MutableMapping[str, Any]], seconds: float) -> None:
    """Wait `seconds` by the loop's clock, or until the client has gone."""
    await asyncio.wait((gone,), timeout=seconds)


@dataclass(slots=True)
class ReplayExchange:
    """A parsed request and the means to answer it. Call `serve` or `refuse` once; both return how the request ended."""

    request: ReplayRequest
    faults: Faults
    draw: Draw
    chunk_tokens: int
    serial: int
    headers: Iterable[tuple[bytes, bytes]]
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]]
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]]
    wait: Wait
    prompt_tokens: int = 0
    sent_tokens: int = 0
    _gone: asyncio.Task[MutableMapping[str, Any]] | None = field(default=None, init=False)

    async def refuse(self, message: str, code: str | None, param: str) -> ServedRequest:
        """Refuse the request with status 400."""
        await self._send_whole(400, error_body(message, "invalid_request_error", code, param))
        return self._served(400, "failed")

    async def serve(self, spoken: SimulatedReply, answer: str | None, prompt_tokens: int) -> ServedRequest:
        """Answer with this text. If the request forces a tool, call the tool with `answer` instead."""
        faults = self.faults
        tool = self.request.forced_tool()
        if tool is not None:
            arguments = encode({"answer": answer or ""}).decode()
            spoken = SimulatedReply(arguments, spoken.tokens)
        if self.request.stream or faults.first_byte_s or faults.latency_s:
            self._gone = asyncio.ensure_future(self.receive())  # it ends when the client leaves
        try:
            await self._pause(faults.first_byte_s)
            if self.draw.fails:
                return await self._fail()
            self.prompt_tokens = prompt_tokens
            if self.request.stream:
                return await self._stream(spoken, tool)
            await self._pause(faults.latency_s)
            return await self._answer_whole(spoken, tool)
        except ReplayHangUp:
            # The pool has read the prompt, whether or not it sent a byte back.
            self.prompt_tokens = prompt_tokens
            return self._served(200, "cancelled")
        finally:
            if self._gone is not None:
                self._gone.cancel()

    async def _fail(self) -> ServedRequest:
        status = self.faults.fail_status
        retry = ((b"retry-after", b"1"),) if status == 429 else ()
        type_ = "rate_limit_error" if status == 429 else "server_error"
        await self._send_whole(status, error_body("injected fault", type_, "injected_fault"), retry)
        return self._served(status, "failed")

    async def _answer_whole(self, spoken: SimulatedReply, tool: str | None) -> ServedRequest:
        count = self.request.n or 1
        self.sent_tokens = spoken.tokens * count
        reason = _finish_reason(spoken, tool)
        message = ReplayMessageOut(content=spoken.text)
        if tool is not None:
            call = ToolCall(Function(tool, spoken.text), id=f"call_{self.serial}", type="function")
            message = ReplayMessageOut(content=None, tool_calls=[call])
        body = encode(
            Completion(
                id=self._id(),
                created=int(time.time()),
                model=self.request.model,
                choices=[ReplayChoice(index, message, reason) for index in range(count)],
                usage=msgspec.UNSET if self.draw.hides_usage else self._usage(),
            )
        )
        if self.draw.breaks:
            await self._start(200, [*JSON_HEADERS, (b"content-length", b"%d" % len(body))])
            await self._send_body(body[: len(body) // 2])
            return self._served(200, "broken")
        await self._send_whole(200, body)
        return self._served(200, "completed")

    async def _stream(self, spoken: SimulatedReply, tool: str | None) -> ServedRequest:
        count = self.request.n or 1
        chunks = -(-spoken.tokens // self.chunk_tokens)
        gap = self.faults.latency_s / (chunks * count)
        breaks_at = spoken.tokens * count // 2 if self.draw.breaks else None
        await self._start(200, STREAM_HEADERS)
        for index in range(count):
            await self._send_delta(index, Delta(role="assistant", content=None if tool else ""))
            if tool is not None:
                await self._send_delta(index, self._tool_delta(Function(tool), names=True))
            for start in range(0, spoken.tokens, self.chunk_tokens):
                end = min(start + self.chunk_tokens, spoken.tokens)
                await self._pause(gap)
                if breaks_at is not None and self.sent_tokens + end - start > breaks_at:
                    return self._served(200, "broken")
                piece = spoken.piece(start, end)
                delta = Delta(content=piece) if tool is None else self._tool_delta(Function(arguments=piece))
                await self._send_delta(index, delta)
                self.sent_tokens += end - start
            await self._send_delta(index, Delta(), _finish_reason(spoken, tool))
        if self._shows_usage():
            await self._send_body(event(self._chunk([], self._usage())))
        await asyncio.sleep(0)  # so that a hang-up is noticed before the stream counts as complete
        await self._pause(0.0)
        await self.send({"type": "http.response.body", "body": DONE})
        return self._served(200, "completed")

    async def _pause(self, seconds: float) -> None:
        """Wait. Raises ReplayHangUp as soon as the client has gone."""
        if self._gone is None:
            return
        if seconds > 0.0:
            await self.wait(self._gone, seconds)
        if self._gone.done():
            raise ReplayHangUp

    async def _send_whole(self, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        await self._start(status, [*JSON_HEADERS, *headers, (b"content-length", b"%d" % len(body))])
        await self.send({"type": "http.response.body", "body": body})

    async def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def _send_body(self, body: bytes) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": True})

    async def _send_delta(self, index: int, delta: Delta, finish_reason: str | None = None) -> None:
        await self._send_body(event(self._chunk([ChunkChoice(index, delta, finish_reason)], None)))

    def _chunk(self, choices: list[ChunkChoice], usage: ReplayUsage | None) -> Chunk:
        shown = usage if self._shows_usage() else msgspec.UNSET
        return Chunk(self._id(), int(time.time()), self.request.model, choices, shown)

    def _tool_delta(self, function: Function, *, names: bool = False) -> Delta:
        if names:
            return Delta(tool_calls=[ToolCall(function, index=0, id=f"call_{self.serial}", type="function")])
        return Delta(tool_calls=[ToolCall(function, index=0)])

    def _shows_usage(self) -> bool:
        options = self.request.stream_options
        return options is not None and options.include_usage and not self.draw.hides_usage

    def _usage(self) -> ReplayUsage:
        return ReplayUsage(self.prompt_tokens, self.sent_tokens, self.prompt_tokens + self.sent_tokens)

    def _id(self) -> str:
        return f"chatcmpl-replay-{self.serial}"

    def _served(self, status: int, end: str) -> ServedRequest:
        return ServedRequest(
            model=self.request.model,
            status=status,
            end=end,
            stream=bool(self.request.stream),
            limit=self.request.limit(),
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.sent_tokens,
            headers=self.headers,
        )


def _finish_reason(spoken: SimulatedReply, tool: str | None) -> str:
    if spoken.is_cut:
        return "length"
    return "stop" if tool is None else "tool_calls"
