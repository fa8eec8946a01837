"""Server-sent events as bytes: where they end, their data, and the candidate's name in them.

The format is https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream. All functions but
`plain_lines` take lines that end with `\\n`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

MODEL = re.compile(rb'"model"\s*:\s*"(?:[^"\\]|\\.)*"')
_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_MOST_TRIED = 8


def plain_lines(data: bytes, is_pending: bool) -> tuple[bytes, bool]:
    """Return the next bytes of a stream with line ends of `\\n`, and whether their last byte was `\\r`.

    A stream's line ends may be `\\r\\n`, `\\r` or `\\n`. `is_pending` tells that the last byte before was `\\r`, to
    which a `\\n` that comes now belongs.
    """
    if is_pending and data[:1] == b"\n":
        data = data[1:]
    elif not data:
        return data, is_pending
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n"), data.endswith(b"\r")


def last_end(data: bytes, before: int) -> int:
    """Return where the last whole event before this place ends; 0 if there is none."""
    end = data.rfind(b"\n\n", 0, before)
    return end + 2 if end >= 0 else 0


def events_of(block: bytes) -> list[bytes]:
    """Return the whole events of a block."""
    events, start = [], 0
    while (end := block.find(b"\n\n", start) + 2) > 1:
        events.append(block[start:end])
        start = end
    return events


def data_of(event: bytes) -> bytes:
    """Return the joined `data:` lines of an event."""
    if event.startswith(b"data:") and event.find(b"\n") >= len(event) - 2:
        return event[5:].strip()
    lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


def event_with(data: bytes) -> bytes:
    """Return an event of this JSON text. Between its tokens a line end means no more than a space."""
    return b"data: " + data.replace(b"\n", b" ") + b"\n\n"


def decode(data: bytes) -> Any:
    """Decode JSON like `json.loads`, in two thirds of its time for an event. Raises ValueError and RecursionError."""
    text = data.decode().strip(" \t\n\r")
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        raise ValueError("no value") from None
    if end != len(text):
        raise ValueError(f"more than one value, at character {end}")
    return value


def parsed(data: bytes) -> Any:
    """Return the JSON value, or None for anything else: a comment, a keep-alive or invalid data."""
    try:
        return decode(data)
    except (ValueError, RecursionError):
        return None


def renamed(block: bytes, candidate: str, named: bytes) -> bytes:
    """Return whole events in which the candidate is each event's own `model`; one further inside is left alone.

    `named` is the member for that name, as JSON. Most events are not parsed: those of a stream begin alike, up to a
    member that one brace precedes, which is the event's own.
    """
    place = block.find(b'"model"')
    if place < 0:
        return block
    head = block[last_end(block, place) : place]
    if head.count(b"{") == 1 and block.count(head + b'"model"') == block.count(b'"model"'):
        return MODEL.sub(_replacement(named), block)
    events = events_of(block)
    if len(events) == 1:
        return _renamed_event(block, candidate, named)
    return b"".join([renamed(event, candidate, named) for event in events])


@lru_cache(4096)
def _replacement(named: bytes) -> bytes:
    """Return the template for `MODEL` that puts `named` in its place."""
    return named.replace(b"\\", rb"\\")


def _renamed_event(event: bytes, candidate: str, named: bytes) -> bytes:
    payload = parsed(data_of(event))
    if not isinstance(payload, dict) or not isinstance(payload.get("model"), str):
        return event
    wanted = {**payload, "model": candidate}
    try:
        for tried, found in enumerate(MODEL.finditer(event)):
            if tried == _MOST_TRIED:
                break
            changed = event[: found.start()] + named + event[found.end() :]
            if parsed(data_of(changed)) == wanted:
                return changed
        return event_with(json.dumps(wanted).encode())
    except RecursionError:  # nested too deeply to compare
        return event
