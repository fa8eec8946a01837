"""Streams as providers send them, with what must come of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

SERVED = "acme-vision-2026-01"
TRICKY = 'said "model":"x", then "usage":{"prompt_tokens":1} and [DONE] \u00e4\u4f60\U0001f600 data: x\n\n"error":'
"""Text that looks like what the meter searches for; JSON escapes its quotes and line ends."""


def chunk(choices: list[Any] | None = None, *, ascii_only: bool = True, **members: Any) -> bytes:
    """One event: a chat completion chunk."""
    base = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": SERVED}
    payload = {**base, "choices": choices if choices is not None else [], **members}
    return event(json.dumps(payload, ensure_ascii=ascii_only, separators=(",", ":")).encode())


def event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def said(text: str, index: int = 0, *, ascii_only: bool = True, **members: Any) -> bytes:
    delta = {"content": text}
    return chunk([{"index": index, "delta": delta, "finish_reason": None}], ascii_only=ascii_only, **members)


def ended(index: int = 0, **members: Any) -> bytes:
    return chunk([{"index": index, "delta": {}, "finish_reason": "stop"}], **members)


def usage(inputs: int = 11, outputs: int = 7) -> dict[str, int]:
    return {"prompt_tokens": inputs, "completion_tokens": outputs, "total_tokens": inputs + outputs}


DONE = event(b"[DONE]")
ROLE = chunk([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])


@dataclass(frozen=True)
class Stream:
    """A stream and what the meter must know at its end. `counted` is our own count of its output tokens."""

    data: bytes
    usage: tuple[int, int] | None
    done: bool = True
    finished: bool = True
    failed: bool = False
    texts: tuple[str, ...] = ("Hello world",)

    @property
    def crlf(self) -> Stream:
        return Stream(self.data.replace(b"\n", b"\r\n"), self.usage, self.done, self.finished, self.failed, self.texts)


PLAIN = (ROLE, said("Hello"), said(" world"), ended())
STREAMS: dict[str, Stream] = {
    "usage in an event of its own": Stream(b"".join((*PLAIN, chunk(usage=usage()), DONE)), (11, 7)),
    "usage in the finish chunk": Stream(b"".join((*PLAIN[:-1], ended(usage=usage()), DONE)), (11, 7)),
    "usage null until the last": Stream(
        b"".join(
            (
                said("Hello", usage=None),
                said(" world", usage=None),
                ended(usage=None),
                chunk(usage=usage()),
                DONE,
            )
        ),
        (11, 7),
    ),
    "usage so far in every chunk": Stream(
        b"".join(
            (
                said("Hello", usage=usage(11, 1)),
                said(" world", usage=usage(11, 2)),
                ended(usage=usage(11, 2)),
                chunk(usage=usage(11, 2)),
                DONE,
            )
        ),
        (11, 2),
    ),
    "no usage": Stream(b"".join((*PLAIN, DONE)), None),
    "no [DONE]": Stream(b"".join((*PLAIN, chunk(usage=usage()))), (11, 7), done=False),
    "no usage and no [DONE]": Stream(b"".join(PLAIN), None, done=False),
    "broken off": Stream(b"".join(PLAIN[:-1]), None, done=False, finished=False),
    "broken off inside an event": Stream(
        b"".join(PLAIN[:-1]) + said(" and mo")[:-20], None, done=False, finished=False
    ),
    "an error event": Stream(
        b"".join((*PLAIN[:-1], event(b'{"error": {"message": "overloaded", "code": null}}'))),
        None,
        done=False,
        finished=False,
        failed=True,
    ),
    "an error event, then [DONE]": Stream(
        b"".join((*PLAIN[:-1], event(b'{"error": {"message": "overloaded"}}'), DONE)), None, finished=False, failed=True
    ),
    "error null in every chunk": Stream(
        b"".join((said("Hello", error=None), said(" world", error=None), ended(error=None), DONE)), None
    ),
    "two choices": Stream(
        b"".join(
            (
                said("Hello", 0),
                said("Moin", 1),
                ended(1),
                said(" world", 0),
                ended(0),
                chunk(usage=usage(11, 9)),
                DONE,
            )
        ),
        (11, 9),
        texts=("Hello world", "Moin"),
    ),
    "comments and keep-alives": Stream(
        b": connected\n\n"
        + PLAIN[0]
        + b": ping\n\n"
        + PLAIN[1]
        + b"event: ping\ndata: {}\n\n"
        + b"".join(PLAIN[2:])
        + b": OPENROUTER PROCESSING\n\n"
        + chunk(usage=usage())
        + DONE,
        (11, 7),
    ),
    "text that looks like members": Stream(
        b"".join((said(TRICKY), said(TRICKY, ascii_only=False), ended(), chunk(usage=usage()), DONE)),
        (11, 7),
        texts=(TRICKY * 2,),
    ),
    "unicode as it is": Stream(
        b"".join((said("\u00e4\u4f60\U0001f600" * 5, ascii_only=False), ended(), chunk(usage=usage()), DONE)),
        (11, 7),
        texts=("\u00e4\u4f60\U0001f600" * 5,),
    ),
    "the name comes late and changes": Stream(
        b"".join(
            (
                chunk([], model="", prompt_filter_results=[]),
                said("Hello", model="gpt-4o-2024-08-06"),
                said(" world", model="gpt-4o-2024-11-20"),
                ended(model="gpt-4o-2024-08-06"),
                chunk(usage=usage()),
                DONE,
            )
        ),
        (11, 7),
    ),
    "spaces in the JSON and an event name": Stream(
        b'event: message\nid: 5\ndata: {"choices" : [{"index":0,"delta":{"content":"Hello world"},"finish_reason" :'
        b' null}], "model" : "' + SERVED.encode() + b'"}\n\n'
        b'data: {"choices" : [{"index":0,"delta":{},"finish_reason" : "length"}], "model" : "x"}  \n\n'
        b'data:{"choices":[],"usage" : {"prompt_tokens" : 11, "completion_tokens" : 7}, "model":"x"}\n\n'
        b"data:[DONE]\n\n",
        (11, 7),
    ),
    "a tool call": Stream(
        b"".join(
            (
                chunk(
                    [
                        {
                            "index": 0,
                            "delta": {
                                "tool_calls": [
                                    {"index": 0, "id": "t", "function": {"name": "f", "arguments": '{"model":"x"}'}}
                                ]
                            },
                            "finish_reason": None,
                        }
                    ]
                ),
                chunk([{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]),
                chunk(usage=usage()),
                DONE,
            )
        ),
        (11, 7),
        texts=("",),
    ),
    "an odd usage": Stream(
        b"".join((*PLAIN, chunk(usage={"prompt_tokens": -1, "completion_tokens": 2.5}), DONE)), None
    ),
    "nothing": Stream(b"", None, done=False, finished=False, texts=()),
}
STREAMS.update({f"{name}, in CRLF": stream.crlf for name, stream in STREAMS.items() if stream.data})
