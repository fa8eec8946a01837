"""The grader for regular expressions: the known answer is the pattern."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from gateway.outcomes.graders.base import BadReference, Grade, Reference, checked_answers
from gateway.outcomes.graders.plain_text import LONGEST_REPLY


@dataclass(frozen=True, slots=True)
class Pattern:
    """A grader: right if a pattern is found in the reply; anchor the pattern (`^...$` are line ends) to ask for more.

    The time of a search depends on the pattern: some never end. The caller sets a time limit.
    """

    version: str = "regex/1"

    def check(self, reference: Reference) -> None:
        for answer in checked_answers(reference):
            compiled(answer)

    def grade(self, reply: str, reference: Reference) -> Grade:
        for answer in checked_answers(reference):
            found = compiled(answer).search(reply[-LONGEST_REPLY:])
            if found:
                return Grade(1.0, found[0][:200])
        return Grade(0.0)


@lru_cache(256)
def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern. Raises BadReference for an invalid one."""
    try:
        return re.compile(pattern, re.MULTILINE)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadReference(f"{pattern[:40]!r} is not a regular expression: {error}") from None
