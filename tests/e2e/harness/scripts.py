"""What a scripted provider can do with a call: answer it, refuse it, hang, break off at any byte."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from typing import Any

from tests.e2e.harness.scripted_provider import Call, Script

USAGE = (21, 8)
"""(prompt tokens, completion tokens) that a scripted reply states unless it is told otherwise."""
TEXT = "eight tokens of text, as it were"
Request = dict[str, Any]
END = b"0\r\n\r\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
)


def answer(text: str = TEXT, usage: tuple[int, int] | None = USAGE, finish: str = "stop") -> Script:
    """A whole reply, or a stream of a few chunks, as it is asked for."""

    async def script(call: Call) -> None:
        if call.json.get("stream"):
            await call.send(STREAM_HEAD)
            for each in stream_events(call.json, text, usage, finish):
                await call.send(chunk(each))
            await call.send(END)
        else:
            await call.send(whole(completion(call.json, text, usage, finish)))

    return script


def answer_json(payload: dict[str, Any]) -> Script:
    """This very object, whatever is asked."""

    async def script(call: Call) -> None:
        await call.send(whole(payload))

    return script


def refuse(
    status: int, message: str = "no", code: str | None = None, param: str | None = None, headers: bytes = b""
) -> Script:
    """An error in OpenAI's shape."""

    async def script(call: Call) -> None:
        error = {"message": message, "type": "some_error", "code": code, "param": param}
        await call.send(whole({"error": error}, status, headers))

    return script


def say(data: bytes) -> Script:
    """These bytes, then the end of the connection."""

    async def script(call: Call) -> None:
        await call.send(data)

    return script


def slowly(seconds: float) -> Script:
    """The reply proper, after so many seconds without a byte."""

    async def script(call: Call) -> None:
        await asyncio.sleep(seconds)
        await call.send(reply_to(call.json))

    return script


def hang() -> Script:
    """Not a byte, until the gateway hangs up."""

    async def script(call: Call) -> None:
        await call.until_left()

    return script


def break_off(after: int) -> Script:
    """`after` bytes of the reply proper, then a reset."""

    async def script(call: Call) -> None:
        await call.send(reply_to(call.json)[:after])
        call.reset()

    return script


def end_early(after: int) -> Script:
    """`after` bytes of the reply proper, then an orderly end of the connection."""

    async def script(call: Call) -> None:
        await call.send(reply_to(call.json)[:after])

    return script


def say_then_hang(*texts: str) -> Script:
    """These pieces of a stream, then silence until the gateway hangs up."""

    async def script(call: Call) -> None:
        await call.send(STREAM_HEAD)
        for text in texts:
            await call.send(chunk(event(_delta(call.json, text))))
        await call.until_left()

    return script


def wait_then(release: threading.Event, script: Script) -> Script:
    """Hold the call back until the test lets it go on."""

    async def waiting(call: Call) -> None:
        await asyncio.get_running_loop().run_in_executor(None, release.wait, 20)
        await script(call)

    return waiting


def whole(payload: dict[str, Any], status: int = 200, headers: bytes = b"") -> bytes:
    """A whole HTTP reply."""
    body = json.dumps(payload).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + headers + b"Connection: close\r\n\r\n" + body


def completion(request: Request, text: str, usage: tuple[int, int] | None, finish: str = "stop") -> dict[str, Any]:
    """A whole reply's object, with as many choices as asked."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 1,
        "model": request["model"],
        "choices": [
            {"index": index, "message": message, "finish_reason": finish} for index in range(request.get("n") or 1)
        ],
        **({} if usage is None else {"usage": usage_of(usage)}),
    }


def stream_events(request: Request, text: str, usage: tuple[int, int] | None, finish: str = "stop") -> list[bytes]:
    """A stream's events: the text in pieces of four characters, the finish, usage where it is asked for, `[DONE]`."""
    pieces = [text[start : start + 4] for start in range(0, len(text), 4)]
    events = [event(_delta(request, piece)) for piece in pieces]
    events.append(event(_frame(request, [{"index": 0, "delta": {}, "finish_reason": finish}])))
    if usage is not None and (request.get("stream_options") or {}).get("include_usage"):
        events.append(event({**_frame(request, []), "usage": usage_of(usage)}))
    return [*events, b"data: [DONE]\n\n"]


def reply_to(request: Request) -> bytes:
    """The reply proper, to its last byte."""
    if request.get("stream"):
        return STREAM_HEAD + b"".join(map(chunk, stream_events(request, TEXT, USAGE))) + END
    return whole(completion(request, TEXT, USAGE))


def usage_of(usage: Sequence[int]) -> dict[str, int]:
    return {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}


def event(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    """One piece of HTTP's chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _delta(request: Request, text: str) -> dict[str, Any]:
    return _frame(request, [{"index": 0, "delta": {"content": text}, "finish_reason": None}])


def _frame(request: Request, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": request["model"],
        "choices": choices,
    }
