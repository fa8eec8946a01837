"""The grader for equal texts, ignoring case, spaces, punctuation at the ends, and the way of writing numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.outcomes.graders.answers import final_answer, first_sentence
from gateway.outcomes.graders.base import Grade, Reference, checked_answers
from gateway.outcomes.graders.plain_text import plain

_ARTICLE = re.compile(r"^(?:the|an?)\s+(?=\S)")
_AROUND_MARKS = re.compile(r"\s*([,;:=<>+*/()\[\]{}-])\s*")
_SPACES = re.compile(r"\s+")
_TRAILING_ZEROS = re.compile(r"(?<![0-9.])([0-9]{1,30})(?:\.([0-9]{0,30}?)0+|\.)(?![0-9.])")
_EDGES = " \t.,;:!?*_`\"'"


@dataclass(frozen=True, slots=True)
class Exact:
    """A grader: right if the final answer, or its first sentence, equals a known answer after `normal`."""

    version: str = "exact/1"

    def check(self, reference: Reference) -> None:
        checked_answers(reference)

    def grade(self, reply: str, reference: Reference) -> Grade:
        known = {normal(answer) for answer in checked_answers(reference)}
        text = final_answer(reply).text
        given = (normal(text), normal(first_sentence(text)))
        return Grade(float(any(each in known for each in given)), text[:200])


def normal(text: str) -> str:
    """Return the form in which texts are compared: `The (-2.000, 6)` is `(-2,6)`."""
    text = _SPACES.sub(" ", plain(text)).casefold().strip(_EDGES)
    text = _AROUND_MARKS.sub(r"\1", _ARTICLE.sub("", text))
    return _TRAILING_ZEROS.sub(_without_zeros, text)


def _without_zeros(number: re.Match[str]) -> str:
    return f"{number[1]}.{number[2]}" if number[2] else number[1]
