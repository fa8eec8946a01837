"""The interface of a grader, and its inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

LONGEST_REFERENCE = 1_000
"""The most characters of a known answer (not of a schema); longer answers are rejected as mistakes."""
NONE_GIVEN: Mapping[str, str] = MappingProxyType({})


class BadReference(ValueError):
    """The known answer cannot be used by this grader; the message says why."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The known answer of a query.

    Attributes:
        answer: the right answer as the data set gives it; a JSON list of texts is several answers, all of them right.
        question: the text to search for options, if `options` is empty.
        options: letter -> text of the options of a multiple choice.
    """

    answer: str
    question: str = ""
    options: Mapping[str, str] = field(default_factory=lambda: NONE_GIVEN)

    @property
    def alternatives(self) -> tuple[str, ...]:
        """The right answers: one, or all texts of a JSON list."""
        text = self.answer.strip()
        if text.startswith('["'):
            try:
                found = json.loads(text)
            except (ValueError, RecursionError):
                found = None
            if isinstance(found, list) and found and all(isinstance(each, str) for each in found):
                return tuple(found)
        return (text,)


@dataclass(frozen=True, slots=True)
class Grade:
    """A grade: `score` is 0 to 1; `answer` is what was read as the reply's answer, empty if none was found."""

    score: float
    answer: str = ""


WRONG = Grade(0.0)


class Grader(Protocol):
    """A judge of replies. `version` is its name, its number and its options: `numeric/1?rel=0.01`."""

    @property
    def version(self) -> str: ...

    def check(self, reference: Reference) -> None:
        """Raise BadReference if this grader cannot use the known answer, and ConfigError if a package is missing."""
        ...

    def grade(self, reply: str, reference: Reference) -> Grade:
        """Judge a reply of any length. Raises BadReference as `check` does, and nothing else."""
        ...


def checked_answers(reference: Reference) -> tuple[str, ...]:
    """Return the right answers as text. Raises BadReference for an empty answer, and for one that is too long."""
    answers = tuple(answer.strip() for answer in reference.alternatives)
    if not all(answers):
        raise BadReference("the answer is empty")
    longest = max(map(len, answers))
    if longest > LONGEST_REFERENCE:
        raise BadReference(f"the answer has {longest:,} characters; at most {LONGEST_REFERENCE:,} are accepted")
    return answers
