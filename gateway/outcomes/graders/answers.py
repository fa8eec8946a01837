"""The final answer in a free text: the text that the writer marks as the answer, else the last line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.outcomes.graders.plain_text import LONGEST_REPLY, plain, without_latex

_SAID = re.compile(
    r"""(?<![</])(?<!\bto\ ) (?: \banswer\b | 答案)
        (?: \s? (?: \([^()\n]{0,60}\) | (?:to|for|of|in)\b [^\n.:=!?]{0,80}? | (?:here|then|therefore)\b,? ) )?
        [*_]{0,3} \s{0,4}
        (?: (?:\b(?:is|are|was|would\ be|should\ be|must\ be)\b|是|为) [*_"'(\s]{0,4} [:：]? | [:：=] )""",
    re.VERBOSE | re.IGNORECASE,
)
_HEADING = re.compile(r"(?m)^[#*\s]{0,8}(?:final\s)?answer[*\s]{0,6}$", re.IGNORECASE)
_HASHES = re.compile(r"(?m)^\s{0,8}####(?!#)")
_TAG = re.compile(r"<answer>([^<]{0,2000})</answer>", re.IGNORECASE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s?\{")
_REMARKS = re.compile(
    r"(?:not|in)?(?:correct|right|wrong|accurate|consistent|reasonable|verified|final|clear|obvious|unique|therefore)\b"
    r"|(?:not|never|n't|based|given|found|obtained|as follows|below|above)\b",
    re.IGNORECASE,
)
"""Remarks about an answer that do not give it: `the answer is correct`. (`Answer: correct` gives one.)"""
_EDGES = " \t\r\n*_`\"'“”‘’"
_SENTENCE = re.compile(r"[.!?;](?=\s)|\s(?=(?:because|since|as|so|where|which)\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AnswerMatch:
    """An answer in plain text. `is_marked` is True if the writer marked it as the answer."""

    text: str
    is_marked: bool


def final_answer(reply: str) -> AnswerMatch:
    """Return the answer that a reply gives, as one line of plain text.

    If several places mark an answer (`\\boxed{}`, `the answer is`, `Answer:`, `####`, `<answer>`), the last counts;
    without any, the last line that is not empty. Time grows with the reply's length; only the end is read.
    """
    text = reply[-LONGEST_REPLY:]
    marked = max(_marked(text), default=None)
    if marked is not None:
        return AnswerMatch(plain(marked[1]).strip(_EDGES), is_marked=True)
    lines = [line for line in text.splitlines() if line.strip(_EDGES)]
    return AnswerMatch(plain(lines[-1]).strip(_EDGES) if lines else "", is_marked=False)


def first_sentence(text: str) -> str:
    """Return the text before the first sentence's end, or before a reason is given."""
    end = _SENTENCE.search(text)
    return (text[: end.start()] if end else text).strip(_EDGES).rstrip(".!;,: ")


def _marked(text: str) -> Iterator[tuple[int, str]]:
    """Yield the places where the text marks an answer, and the answer there."""
    for mark in (_SAID, _HEADING, _HASHES):
        for said in mark.finditer(text):
            line = _line_after(text, said.end())
            is_named = said[0].endswith((":", "：", "=", "#"))
            if line and (is_named or not _REMARKS.match(line)):
                yield said.end(), line
    for tag in _TAG.finditer(text):
        if tag[1].strip():
            yield tag.end(), " ".join(tag[1].split())
    boxes = [box.end() for box in _BOX.finditer(text)]
    if boxes and (inside := _until_closed(text, boxes[-1])):
        yield boxes[-1], inside


def _line_after(text: str, start: int) -> str:
    """Return the rest of the line, or the next line that is not empty."""
    for line in text[start : start + 2_000].splitlines():
        if line.strip(_EDGES + ":$\\[("):
            return line.strip(_EDGES + ":")
    return ""


def _until_closed(text: str, start: int) -> str:
    depth = 1
    for place in range(start, min(len(text), start + 2_000)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return without_latex(text[start:place])
    return ""
