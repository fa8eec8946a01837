"""A meter that reads a stream while it passes: its usage, its end, and what to bill if the provider sent no usage.

Bytes pass unchanged but for three places: `model` names the candidate that served, the last data event of a stream
carries the exact cost (`x_route`), and so does its usage. Only events that matter are parsed; content is only searched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from gateway.billing.usage import Usage, larger, usage_of
from gateway.providers.event_template import EventTemplate, is_one_event
from gateway.providers.reply_text import (
    bytes_said,
    choices_of,
    error_body,
    error_in,
    said_in,
    says_something,
    status_in,
    with_cost,
)
from gateway.providers.sse import data_of, event_with, events_of, last_end, parsed, plain_lines, renamed
from gateway.providers.whole_reply import BYTES_PER_TOKEN, LONGEST_ERROR, BrokenReply, finish_reason_in

_SPECIAL = tuple(map(re.compile, (rb'"usage"\s*:\s*\{', rb'"finish_reason"\s*:\s*"', rb"\[DONE\]", rb'"error"\s*:')))
"""Patterns that make an event worth parsing. (Separate patterns, because each begins with literal text, which is found
fast.)
"""
_PLAIN_USAGE = re.compile(rb'"usage"\s*:\s*\{"')
_WORDS = re.compile(rb'"delta"\s*:\s*\{[^{}]*"content"\s*:\s*"[^"]')
"""Matches an event with words."""
_ROLE = re.compile(
    rb'"choices"\s*:\s*\[\s*\{\s*"index"\s*:\s*0\s*,\s*"delta"\s*:\s*'
    rb'\{\s*"role"\s*:\s*"assistant"\s*,\s*"content"\s*:\s*(?:""|null)\s*(?:,\s*"refusal"\s*:\s*null\s*)?\}[^{}]*\}\s*\]'
)
"""Matches the usual first event, which says no more than that an assistant speaks."""
LARGEST_EVENT = 16 * 1024 * 1024
MOST_HELD_BACK = 64 * 1024
"""Bytes of events without words that are held back at the beginning of a stream."""
MOST_KEPT = 1024 * 1024
"""Bytes of a stream that are kept as they came, to be counted at the end if the provider sends no usage."""
_BOM = b"\xef\xbb\xbf"
_FIELDS = (b"data", b"event", b"id", b"retry", b":")


class StreamMeter:
    """A meter of one server-sent-event stream. Feed it every chunk, then call `flush`, and `finish` or `break_off`."""

    __slots__ = (
        "_believes",
        "_bytes_seen",
        "_candidate",
        "_choices",
        "_ends",
        "_error",
        "_events_seen",
        "_frame",
        "_held",
        "_held_bytes",
        "_is_pending",
        "_is_told",
        "_kept",
        "_middle",
        "_middle_size",
        "_named",
        "_over",
        "_said",
        "_seen",
        "_tail",
        "_usage_event",
        "_wants_usage",
        "committed",
        "complete",
        "done",
        "failed",
        "finish_reason",
        "finished",
        "usage",
    )

    def __init__(
        self,
        candidate: str,
        *,
        wants_usage: bool,
        choices: int = 1,
        believes: Callable[[Usage], bool] | None = None,
    ) -> None:
        """Begin a stream of so many `choices`. `believes` tells whether a usage is possible; by default any is."""
        self._candidate = candidate
        self._named = b'"model":' + json.dumps(candidate).encode()
        self._wants_usage = wants_usage
        self._choices = choices
        self._believes = believes
        self._is_pending = False
        self._tail = b""
        self._middle: list[bytes] = []
        """What came of an event after its beginning in `_tail`."""
        self._middle_size = 0
        self._frame = EventTemplate()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._seen: list[bytes] = []
        self._kept = 0
        self._events_seen = self._bytes_seen = 0
        self._said: list[str] = []
        self._ends: list[bytes] = []
        self._usage_event = b""
        self._over: set[int] = set()
        self._error: bytes = b""
        self._is_told = False
        self.usage: Usage | None = None
        self.committed = False
        """True once the stream has said something: words, a tool call, a refusal, reasoning or a finish reason."""
        self.finished = False
        """True once a choice has given its finish reason."""
        self.complete = False
        """True once all choices have given their finish reasons: only usage and `[DONE]` may follow."""
        self.finish_reason: str | None = None
        """The first finish reason of the stream."""
        self.done = False
        """True once `[DONE]` was seen, or an error after all finish reasons: nothing more is to be waited for."""
        self.failed = False
        """True once the provider itself has sent an error event."""

    def feed(self, data: bytes) -> bytes:
        """Take a chunk of any size. Returns what to send on now (whole events only, perhaps none).

        Nothing is to be sent on until the stream has said something. Raises BrokenReply for an event without an end.
        """
        if self.committed and not self._is_pending:
            plain = self.feed_plain(data)
            if plain is not None:
                return plain
        if self._is_pending or b"\r" in data:
            data, self._is_pending = plain_lines(data, self._is_pending)
        if self._tail:
            if b"\n" not in data:  # the middle of a large event: joined once, at its end
                self._middle.append(data)
                self._middle_size += len(data)
                if self._middle_size > LARGEST_EVENT:
                    raise BrokenReply(f"an event of more than {LARGEST_EVENT} bytes")
                return b""
            self._join_middle()
        return self._go_on(data) if self.committed else self._begin(data)

    def feed_plain(self, data: bytes) -> bytes | None:
        """Take a chunk if it is whole events of content only. Returns what to send on now, at least one byte.

        Returns None for any other chunk, which is then not taken: pass it to `feed`.
        """
        if self._tail or not data.endswith(b"\n\n"):
            return None
        block = self._frame.around(data)
        if block is None:
            if self._ends:
                return None
            if not _is_plain(data):
                return None
            block = renamed(data, self._candidate, self._named)
            self._frame.learn(data, block)
        self._seen.append(block)
        self._kept = kept = self._kept + len(block)
        if kept > MOST_KEPT:
            self._count_oldest()
        return block

    def _join_middle(self) -> None:
        if self._middle:
            self._tail = b"".join([self._tail, *self._middle])
            self._middle.clear()
            self._middle_size = 0

    def flush(self) -> bytes:
        """Take the end of the bytes: a last event may lack its empty line. Returns what to send on now."""
        self._join_middle()
        tail, self._tail = self._tail, b""
        data = data_of(tail + b"\n\n")
        if data != b"[DONE]" and not isinstance(parsed(data), dict):
            self._tail = tail
            return b""
        return self.feed(tail.rstrip(b"\n") + b"\n\n")

    def finish(self, extra: dict[str, Any], usd: float | None = None) -> bytes:
        """Return the end of a complete stream: the last data event, with `extra` merged into it, and `[DONE]`.

        The cost in USD, if given, goes into the usage.
        """
        ends = [*self._ends, self._usage_event] if self._usage_event else [*self._ends]
        if usd is not None:
            ends = [_priced(event, usd) for event in ends]
        if ends:
            ends[-1] = _merge(ends[-1], extra)
        return b"".join(ends) + b"data: [DONE]\n\n"

    def break_off(self, message: str, code: str) -> bytes:
        """Return the end of a broken stream: the held-back events, then an error event, and no `[DONE]`.

        The error event is left out if the provider has sent one.
        """
        ends = b"".join(self._ends) + self._usage_event
        if self._is_told:
            return ends
        error = {"message": message, "type": "provider_error", "code": code, "param": None}
        return ends + b"data: " + json.dumps({"error": error}).encode() + b"\n\n"

    @property
    def progress(self) -> tuple[int, int]:
        """Two numbers that change whenever something is sent on."""
        return self._kept, self._events_seen

    @property
    def error(self) -> bytes:
        """The provider's error event as a body, `{"error": ...}`; empty if there was none."""
        return self._error

    @property
    def error_status(self) -> int | None:
        """The HTTP status that the error event names, if it names one."""
        payload = parsed(self._error)
        return status_in(payload.get("error")) if isinstance(payload, dict) else None

    def unread(self) -> bytes:
        """Return what came before anything was said, if it is no stream of events: a page, a JSON body; else empty."""
        self._join_middle()
        found = b"" if self.committed else b"".join(self._held) + self._tail
        return b"" if found.lstrip().startswith(_FIELDS) else found

    @property
    def bytes_seen(self) -> int:
        """The bytes of the events that passed, and of the words of those that are not kept any more."""
        return self._bytes_seen + sum(map(len, self._seen))

    def output_tokens_seen(self) -> int:
        """Return our own count of the output tokens that passed: one per event, or per four bytes if that is more."""
        events, text_bytes = self._events_seen, self._bytes_seen
        for block in [*self._seen, *self._ends]:
            for event in events_of(block):
                seen = bytes_said(parsed(data_of(event)))
                events += seen > 0
                text_bytes += seen
        return max(events, -(-text_bytes // BYTES_PER_TOKEN))

    def said(self) -> str:
        """Return the text of the first choice, as far as it arrived."""
        payloads = [parsed(data_of(event)) for block in [*self._seen, *self._ends] for event in events_of(block)]
        return "".join([*self._said, *[said_in(payload, "delta") for payload in payloads]])

    def _begin(self, data: bytes) -> bytes:
        """Take a chunk before anything was said: hold its events back until one says something."""
        data = self._tail + data
        if not self._held and data.startswith(_BOM[: len(data)]):
            if len(data) < len(_BOM):
                self._tail = data
                return b""
            data = data[len(_BOM) :]
        data, start = self._whole_events(data), 0
        while (end := data.find(b"\n\n", start) + 2) > 1:
            ready = self._first(data[start:end])
            start = end
            if self.committed:
                held, self._held = self._held, []
                for one in held:
                    self._keep(one)
                tail, self._tail = self._tail, b""
                rest = data[start:]
                ready = b"".join(held) + ready + (self._go_on(rest) if rest else b"")
                self._tail = tail
                return ready
            if self.done or self.failed:
                break
        return b""

    def _first(self, event: bytes) -> bytes:
        """Take an event before anything was said. Returns what to send on if this one says something."""
        sent = renamed(event, self._candidate, self._named)
        if not _is_plain(event):
            payload = parsed(data_of(sent))
            self.committed = says_something(payload) and error_in(payload) is None
            ready = self._event(sent, payload, is_kept=self.committed)
            if self.committed:
                return ready
            self._hold(ready)
        elif _WORDS.search(event) is not None or (
            _ROLE.search(event) is None and says_something(parsed(data_of(event)))
        ):
            self.committed = True
            self._keep(sent)
            self._frame.learn(event, sent)
            return sent
        else:
            self._hold(sent)
        return b""

    def _go_on(self, data: bytes) -> bytes:
        """Take a chunk of a stream that has said something; its lines end with `\\n`."""
        if self._tail:
            data = self._tail + data
            self._tail = b""
        elif is_one_event(data):  # one event, and a special one
            return self._event(renamed(data, self._candidate, self._named))
        data = self._whole_events(data)
        if not data:
            return b""
        block = renamed(data, self._candidate, self._named)
        special = [found.start() for pattern in _SPECIAL if (found := pattern.search(block))]
        start = last_end(block, min(special)) if special else len(block)
        if self._ends:  # what comes now may be content, before which the finish reason has to go
            start = 0
        plain = block[:start]
        if plain:
            self._keep(plain)
        return plain + b"".join([self._event(event) for event in events_of(block[start:])])

    def _hold(self, event: bytes) -> None:
        """Hold an event back. When there are too many, comments are dropped and chunks let through."""
        if self._held_bytes + len(event) <= MOST_HELD_BACK:
            self._held.append(event)
            self._held_bytes += len(event)
        elif not self.failed and isinstance(parsed(data_of(event)), dict):
            self._held.append(event)
            self.committed = True

    def _whole_events(self, data: bytes) -> bytes:
        """Return the whole events; what is left of the last one is kept. Raises BrokenReply if that is too much."""
        if data.endswith(b"\n\n"):
            self._tail = b""
            return data
        end = last_end(data, len(data))
        self._tail = data[end:]
        if len(self._tail) > LARGEST_EVENT:
            raise BrokenReply(f"an event of more than {LARGEST_EVENT} bytes")
        return data[:end]

    def _event(self, event: bytes, payload: Any = None, *, is_kept: bool = True) -> bytes:
        """Send an event on, hold it back because it may be the last, or drop it. `payload` is its data, if known."""
        if payload is None:
            data = data_of(event)
            if data == b"[DONE]":
                self.done = True
                return b""
            payload = parsed(data)
        usage = usage_of(payload)
        is_better = usage is not None and self._count(usage)
        error = error_in(payload)
        if error is not None:
            return self._failure(event, payload, error)
        choices = choices_of(payload)
        if not choices and usage is not None:
            if self._wants_usage and (is_better or not self._usage_event):
                self._usage_event = event
            return b""
        over = [_index(choice) for choice in choices if _finished(choice)]
        if over:
            self._over.update(over)
            self.finished = True
            self.complete = len(self._over) >= self._choices
            self.finish_reason = self.finish_reason or finish_reason_in(choices)
            released, self._ends = self._ends, [event]
            self._frame.forget()  # so that what follows is looked at
        else:
            released = []
            if self._ends and says_something(payload):
                released, self._ends = self._ends, []
        for one in released:
            self._keep(one)
        if over:
            return b"".join(released)
        if is_kept:
            self._keep(event)
        return b"".join(released) + event

    def _failure(self, event: bytes, payload: Any, error: Any) -> bytes:
        """Take an error event; after all finish reasons it is no more than an end."""
        if self.complete:
            self.done = True
            return b""
        self.failed = True
        self._is_told = bool(payload.get("error"))
        self._error = (data_of(event) if self._is_told else error_body(error))[:LONGEST_ERROR]
        return event

    def _count(self, usage: Usage) -> bool:
        """Take a usage. Returns whether it says more than the ones before: a contradiction of them does not count."""
        before, believes = self.usage, self._believes
        if before is None or believes is None or believes(before) == believes(usage):
            self.usage = larger(before, usage)
        elif believes(usage):
            self.usage = usage
        return self.usage == usage

    def _keep(self, block: bytes) -> None:
        self._seen.append(block)
        self._kept += len(block)
        if self._kept > MOST_KEPT:
            self._count_oldest()

    def _count_oldest(self) -> None:
        """Count the oldest of the kept bytes, and let them go: a stream may be of any length."""
        taken = freed = 0
        while taken < len(self._seen) and self._kept - freed > MOST_KEPT - MOST_HELD_BACK:
            for event in events_of(self._seen[taken]):
                payload = parsed(data_of(event))
                seen = bytes_said(payload)
                self._events_seen += seen > 0
                self._bytes_seen += seen
                text = said_in(payload, "delta")
                if text:
                    self._said.append(text)
            freed += len(self._seen[taken])
            taken += 1
        del self._seen[:taken]
        self._kept -= freed


def _is_plain(block: bytes) -> bool:
    """Return whether no event of a block is worth parsing."""
    for pattern in _SPECIAL:  # noqa: SIM110  a generator takes half as long again
        if pattern.search(block) is not None:
            return False
    return True


def _finished(choice: Any) -> bool:
    return isinstance(choice, dict) and bool(choice.get("finish_reason"))


def _index(choice: Any) -> int:
    index = choice.get("index")
    return index if type(index) is int else 0


def _priced(event: bytes, usd: float) -> bytes:
    """Return the event with its cost, if it has a usage. A usage that one brace precedes is the event's own."""
    if b'"usage"' not in event:
        return event
    found = _PLAIN_USAGE.search(event)
    if found is not None and b'"cost"' not in event and event.count(b"{", 0, found.start()) == 1:
        end = found.end() - 1
        return b'%b"cost":%b,%b' % (event[:end], repr(usd).encode(), event[end:])
    data = data_of(event)
    changed = with_cost(data, parsed(data), usd)
    return event if changed == data else event_with(changed)


def _merge(event: bytes, extra: dict[str, Any]) -> bytes:
    """Return the event with the members of `extra` added to its JSON object."""
    return event_with(data_of(event)[:-1] + b"," + json.dumps(extra).encode()[1:])
