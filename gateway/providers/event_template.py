"""A template of a stream's events, which differ only in their words: the bytes around the words are parsed once."""

from __future__ import annotations

import re

_WORDS = re.compile(rb'"delta"\s*:\s*\{[^{}]*"content"\s*:\s*"')
"""Matches an event up to where its words begin."""
MOST_LEARNED = 4


def is_one_event(data: bytes) -> bool:
    """Return whether `data` is exactly one server-sent event, whose lines end without a carriage return."""
    return data.endswith(b"\n\n") and data.find(b"\n\n") == len(data) - 2 and b"\r" not in data


class EventTemplate:
    """The bytes before and after the words of a plain event, and the bytes to send instead of them.

    A template learns at most MOST_LEARNED times, so that a stream whose events differ in more than words costs little.
    """

    __slots__ = ("_frame", "_learned")

    def __init__(self) -> None:
        self._frame: tuple[bytes, bytes, bytes, bytes] | None = None
        self._learned = 0

    def around(self, data: bytes) -> bytes | None:
        """Return the bytes to send on for an event that differs from the learned event only in its words; None for any
        other.

        Words without a quote lie within one JSON string, so nothing in them can be special.
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
        """Learn the bytes around the words of a plain event, if `data` is one event with words.

        `sent` is what was sent on for this event.
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

    def forget(self) -> None:
        """Forget what was learned, so that the next event is looked at again."""
        self._frame = None
