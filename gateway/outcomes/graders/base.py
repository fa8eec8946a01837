"""What a grader is, and what it is given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

LONGEST_REFERENCE = 1_000
"""Characters of a known answer (not of a schema); longer ones are taken for a mistake."""
NONE_GIVEN: Mapping[str, str] = MappingProxyType({})


class BadReference(ValueError):
    """The known answer is none that this grader can judge by; the text says why."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What is known of a query's answer.

    Attributes:
        answer: the right answer as the data set gives it; a list of texts in JSON is several, any of which is right.
        question: where options are looked for that `options` does not give.
        options: letter -> text of the options of a multiple choice.
    """

    answer: str
    question: str = ""
    options: Mapping[str, str] = field(default_factory=lambda: NONE_GIVEN)

    @property
    def alternatives(self) -> tuple[str, ...]:
        """The right answers: one, or those of a list of texts in JSON."""
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
    """`score` is 0 to 1; `answer` is what was taken for the reply's answer, empty where none was found."""

    score: float
    answer: str = ""


WRONG = Grade(0.0)


class Grader(Protocol):
    """Judges replies. `version` is its name, its number and what it was told: `numeric/1?rel=0.01`."""

    @property
    def version(self) -> str: ...

    def check(self, reference: Reference) -> None:
        """Raises BadReference where replies cannot be judged by this, ConfigError where a package is missing."""
        ...

    def grade(self, reply: str, reference: Reference) -> Grade:
        """Judge a reply of any length. Raises BadReference as `check` does, and nothing else."""
        ...


def checked_answers(reference: Reference) -> tuple[str, ...]:
    """The right answers as text. Raises BadReference for none, and for one that is longer than answers are."""
    answers = tuple(answer.strip() for answer in reference.alternatives)
    if not all(answers):
        raise BadReference("the answer is empty")
    longest = max(map(len, answers))
    if longest > LONGEST_REFERENCE:
        raise BadReference(f"the answer has {longest:,} characters; at most {LONGEST_REFERENCE:,} are accepted")
    return answers
