"""ANLS, the measure for reading text in pictures.

Biten et al., "Scene Text Visual Question Answering", ICCV 2019: one minus the edit distance over the longer text's
length, the best over all known answers, and zero if that is below a threshold of 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from gateway.outcomes.graders.answers import final_answer
from gateway.outcomes.graders.base import Grade, Reference, checked_answers

THRESHOLD = Fraction(1, 2)


@dataclass(frozen=True, slots=True)
class Anls:
    """A grader with scores from `threshold` to 1, or 0; case and runs of spaces do not count."""

    threshold: Fraction = THRESHOLD

    @property
    def version(self) -> str:
        return "anls/1" if self.threshold == THRESHOLD else f"anls/1?threshold={float(self.threshold):g}"

    def check(self, reference: Reference) -> None:
        checked_answers(reference)

    def grade(self, reply: str, reference: Reference) -> Grade:
        text = final_answer(reply).text
        given = _folded(text)
        scores = [similarity(given, _folded(known), self.threshold) for known in checked_answers(reference)]
        return Grade(max(scores), text[:200])


def similarity(first: str, second: str, threshold: Fraction = THRESHOLD) -> float:
    """Return 1 - distance / longer length; 0 if that is below the threshold. Two empty texts are equal."""
    longer = max(len(first), len(second))
    if not longer:
        return 1.0
    most = int((1 - threshold) * longer)
    distance = edit_distance(first, second, most)
    return 0.0 if distance > most else 1.0 - distance / longer


def edit_distance(first: str, second: str, most: int) -> int:
    """Return Levenshtein's distance; `most + 1` if it is more than `most`. Time grows with a length times `most`."""
    if len(first) < len(second):
        first, second = second, first
    over = most + 1
    if len(first) - len(second) > most:
        return over
    before = [min(column, over) for column in range(len(second) + 1)]
    for row, character in enumerate(first, start=1):
        low, high = max(1, row - most), min(len(second), row + most)
        now = [over] * (len(second) + 1)
        now[0] = min(row, over)
        for column in range(low, high + 1):
            changed = before[column - 1] + (character != second[column - 1])
            now[column] = min(changed, before[column] + 1, now[column - 1] + 1)
        if min(now) > most:
            return over
        before = now
    return min(before[-1], over)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
