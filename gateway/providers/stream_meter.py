"""A meter that reads a reply while it passes: its usage, its end, and what to bill if the provider sent no usage.

Bytes pass unchanged but for two places: `model` names the candidate that served, and the last data event of a stream
carries the exact cost (`x_route`). Only events that matter are parsed; content is only searched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gateway.billing.usage import Usage, usage_of
from gateway.providers.event_template import EventTemplate, is_one_event
from gateway.providers.reply_text import bytes_said, said_in

BYTES_PER_TOKEN = 4
_MODEL = re.compile(rb'"model"\s*:\s*"(?:[^"\\]|\\.)*"')
_SPECIAL = tuple(map(re.compile, (rb'"usage"\s*:\s*\{', rb'"finish_reason"\s*:\s*"', rb"\[DONE\]", rb'"error"\s*:')))
"""Patterns that make an event worth parsing. (Separate patterns, because each begins with literal text, which is found
fast.)
"""
_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
LARGEST_EVENT = 16 * 1024 * 1024
_EVENT_END = re.compile(rb"\r?\n\r?\n")


class BrokenReply(ValueError):
    """A whole reply that is not a chat completion, or a stream's event without an end."""


class StreamMeter:
    """A meter of one server-sent-event stream. Feed it every chunk; at the end call `finish` for the last bytes."""

    __slots__ = (
        "_ends",
        "_frame",
        "_named",
        "_seen",
        "_tail",
        "_wants_usage",
        "done",
        "failed",
        "finish_reason",
        "finished",
        "usage",
    )

    def __init__(self, candidate: str, *, wants_usage: bool) -> None:
        self._named = _member(candidate)
        self._wants_usage = wants_usage
        self._tail = b""
        self._frame = EventTemplate()
        self._seen: list[bytes] = []
        self._ends: list[bytes] = []
        self.usage: Usage | None = None
        self.finished = False
        """True once a choice has given its finish reason."""
        self.finish_reason: str | None = None
        """The first finish reason of the stream."""
        self.done = False
        """True once `[DONE]` was seen."""
        self.failed = False
        """True once the provider itself has sent an error event."""

    def feed(self, data: bytes) -> bytes:
        """Take a chunk of any size. Returns what to send on now (whole events only, perhaps none).

        Raises BrokenReply for an event without an end.
        """
        plain = self.feed_plain(data)
        if plain is not None:
            return plain
        if self._tail:
            data = self._tail + data
            self._tail = b""
        elif is_one_event(data):  # one event, and a special one
            return self._event(_MODEL.sub(self._named, data))
        if not data.endswith(b"\n\n"):
            end = _last_end(data, len(data))
            self._tail = data[end:]
            if len(self._tail) > LARGEST_EVENT:
                raise BrokenReply(f"an event of more than {LARGEST_EVENT} bytes")
            if not end:
                return b""
            data = data[:end]
        block = _MODEL.sub(self._named, data)
        special = [found.start() for pattern in _SPECIAL if (found := pattern.search(block))]
        start = _last_end(block, min(special)) if special else len(block)
        plain = block[:start]
        if plain:
            self._seen.append(plain)
        return plain + b"".join([self._event(event) for event in _events(block[start:])])

    def feed_plain(self, data: bytes) -> bytes | None:
        """Take a chunk if it is whole events of content only. Returns what to send on now, at least one byte.

        Returns None for any other chunk, which is then not taken: pass it to `feed`.
        """
        if self._tail or not data.endswith(b"\n\n"):
            return None
        block = self._frame.around(data)
        if block is None:
            for pattern in _SPECIAL:
                if pattern.search(data) is not None:
                    return None
            block = _MODEL.sub(self._named, data)
            self._frame.learn(data, block)
        self._seen.append(block)
        return block

    def finish(self, extra: dict[str, Any]) -> bytes:
        """Return the end of a complete stream: the last data event, with `extra` merged into it, and `[DONE]`."""
        ends = self._ends
        if ends:
            ends[-1] = _merge(ends[-1], extra)
        return b"".join(ends) + b"data: [DONE]\n\n"

    def break_off(self, message: str, code: str) -> bytes:
        """Return the end of a broken stream: the held-back events, then an error event, and no `[DONE]`.

        The error event is left out if the provider has sent one.
        """
        ends = b"".join(self._ends)
        if self.failed:
            return ends
        error = {"message": message, "type": "provider_error", "code": code, "param": None}
        return ends + b"data: " + json.dumps({"error": error}).encode() + b"\n\n"

    def output_tokens_seen(self) -> int:
        """Return our own count of the output tokens that passed: one per event, or per four bytes if that is more."""
        events = text_bytes = 0
        for block in [*self._seen, *self._ends]:
            for event in _events(block):
                seen = bytes_said(_payload(event))
                events += seen > 0
                text_bytes += seen
        return max(events, -(-text_bytes // BYTES_PER_TOKEN))

    def said(self) -> str:
        """Return the text of the first choice, as far as it arrived."""
        payloads = [_payload(event) for block in [*self._seen, *self._ends] for event in _events(block)]
        return "".join([said_in(payload, "delta") for payload in payloads])

    def _event(self, event: bytes) -> bytes:
        """Send an event on, hold it back because it may be the last, or drop it."""
        data = _data(event)
        if data == b"[DONE]":
            self.done = True
            return b""
        payload = _parsed(data)
        usage = usage_of(payload)
        if usage is not None:
            self.usage = usage
        if isinstance(payload, dict) and payload.get("error"):
            self.failed = True
            return event
        choices = payload.get("choices") if isinstance(payload, dict) else None
        if not choices and usage is not None:
            if self._wants_usage:
                self._ends.append(event)
            return b""
        if isinstance(choices, list) and any(_finished(choice) for choice in choices):
            self.finished = True
            self.finish_reason = self.finish_reason or _finish_reason(choices)
            released, self._ends = self._ends, [event]
            self._seen.extend(released)
            return b"".join(released)
        self._seen.append(event)
        return event


@dataclass(frozen=True, slots=True)
class WholeReply:
    """A reply that was not streamed, with the candidate's name in it."""

    body: bytes
    usage: Usage | None
    _payload: dict[str, Any]

    @property
    def output_tokens(self) -> int:
        """Our own count of the output tokens, for when the provider sent none."""
        return -(-bytes_said(self._payload) // BYTES_PER_TOKEN)

    @property
    def finish_reason(self) -> str | None:
        return _finish_reason(self._payload["choices"])

    def said(self) -> str:
        """Return the text of the first choice."""
        return said_in(self._payload, "message")


def read_whole(body: bytes, candidate: str) -> WholeReply:
    """Read a whole reply. Raises BrokenReply for a body that is not a chat completion."""
    try:
        payload = _decode(body)
    except (ValueError, RecursionError) as error:
        raise BrokenReply(f"the reply is not valid JSON: {error}") from None
    if not isinstance(payload, dict) or not isinstance(payload.get("choices"), list):
        raise BrokenReply("the reply is not a chat completion")
    renamed, times = _MODEL.subn(_member(candidate), body)
    if times != 1 or not isinstance(payload.get("model"), str):  # then it is unclear which `model` is the reply's own
        renamed = json.dumps({**payload, "model": candidate}).encode()
    return WholeReply(renamed, usage_of(payload), payload)


@lru_cache(4096)
def _member(candidate: str) -> bytes:
    """Return `"model":"..."` as a replacement text for `_MODEL`."""
    return b'"model":' + json.dumps(candidate).encode().replace(b"\\", b"\\\\")


def partial_output_tokens(body: bytes) -> int:
    """Return the output tokens of a whole reply that broke off: only its bytes are known, so they count as text."""
    return -(-len(body) // BYTES_PER_TOKEN)


def _last_end(data: bytes, before: int) -> int:
    """Return where the last whole event before this place ends; 0 if there is none."""
    end = max(data.rfind(b"\n\n", 0, before) + 2, data.rfind(b"\n\r\n", 0, before) + 3)
    return end if end > 2 else 0


def _events(block: bytes) -> list[bytes]:
    events, start = [], 0
    for end in _EVENT_END.finditer(block):
        events.append(block[start : end.end()])
        start = end.end()
    return events


def _data(event: bytes) -> bytes:
    """Return the joined `data:` lines of an event."""
    if event.startswith(b"data:") and event.find(b"\n") >= len(event) - 2:
        return event[5:].strip()
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


def _payload(event: bytes) -> Any:
    return _parsed(_data(event))


def _decode(data: bytes) -> Any:
    """Decode JSON like `json.loads`, in two thirds of its time for an event. Raises ValueError and RecursionError."""
    text = data.decode().strip(" \t\n\r")
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        raise ValueError("no value") from None
    if end != len(text):
        raise ValueError(f"more than one value, at character {end}")
    return value


def _parsed(data: bytes) -> Any:
    try:
        return _decode(data)
    except (ValueError, RecursionError):  # a comment, a keep-alive or invalid data: sent on unchanged, not counted
        return None


def _finished(choice: Any) -> bool:
    return isinstance(choice, dict) and bool(choice.get("finish_reason"))


def _finish_reason(choices: list[Any]) -> str | None:
    """Return the first finish reason. A provider may send anything; only a string of 1 to 40 characters is a reason."""
    reasons = [choice.get("finish_reason") for choice in choices if isinstance(choice, dict)]
    return next((reason for reason in reasons if isinstance(reason, str) and 0 < len(reason) <= 40), None)


def _merge(event: bytes, extra: dict[str, Any]) -> bytes:
    """Return the event with the members of `extra` added to its JSON object."""
    data = _data(event)
    return b"data: " + data[:-1] + b"," + json.dumps(extra).encode()[1:] + b"\n\n"
