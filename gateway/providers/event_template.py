"""A stream's events are alike but for their words: what stands around those is looked at once."""

from __future__ import annotations

import re

_WORDS = re.compile(rb'"delta"\s*:\s*\{[^{}]*"content"\s*:\s*"')
"""Up to where an event's words begin."""
MOST_LEARNED = 4


def is_one_event(data: bytes) -> bool:
    """Whether it is one whole server-sent event, whose lines end without a carriage return."""
    return data.endswith(b"\n\n") and data.find(b"\n\n") == len(data) - 2 and b"\r" not in data


class EventTemplate:
    """What came before and after the words of a plain event, and what to send in its place. Of a stream whose events
    differ in more, a few are learned and no more.
    """

    __slots__ = ("_frame", "_learned")

    def __init__(self) -> None:
        self._frame: tuple[bytes, bytes, bytes, bytes] | None = None
        self._learned = 0

    def around(self, data: bytes) -> bytes | None:
        """What to send on of an event that differs from the one that was learned in its words alone: within a string,
        where no quote is, nothing can be special. None for any other.
        """
        frame = self._frame
        if frame is None:
            return None
        before, after, named, tail = frame
        start, end = len(before), len(data) - len(after)
        if end < start or not (data.startswith(before) and data.endswith(after)):
            return None
        words = data[start:end]
        return None if b'"' in words else named + words + tail

    def learn(self, data: bytes, sent: bytes) -> None:
        """Note what stands around the words of a plain event, where it is one event and has some; `sent` is what was
        sent on of it.
        """
        if self._learned >= MOST_LEARNED:
            return
        self._learned += 1
        found, named = _WORDS.search(data), _WORDS.search(sent)
        if found is None or named is None or not is_one_event(data):
            return
        end, tail = data.find(b'"', found.end()), sent.find(b'"', named.end())
        if data[end - 1] != ord(b"\\"):
            self._frame = data[: found.end()], data[end:], sent[: named.end()], sent[tail:]
