"""The grader for numbers within a tolerance."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from gateway.outcomes.graders.answers import AnswerMatch, final_answer, first_sentence
from gateway.outcomes.graders.base import WRONG, BadReference, Grade, Reference, checked_answers
from gateway.outcomes.graders.numbers import Number, numbers_in
from gateway.outcomes.graders.plain_text import plain

_RELATIVE_OF_DECIMALS = Fraction(1, 1_000)
_JOINED = re.compile(r"\s*(?:,|;|/|-|or|and|to|,\s?(?:or|and))\s*", re.IGNORECASE)
"""Text between numbers that are offered together: a range, a list, a choice."""
_EQUALS = re.compile("[=≈]")


@dataclass(frozen=True, slots=True)
class Numeric:
    """A grader: right if the number is within `absolute`, or within `relative` of the known one, whichever allows more.

    Without either, a whole number has to be met exactly, and a fraction or a number with decimals within a thousandth
    of itself or half of its last digit. A percentage equals its share (50% is 0.5) and its number. A unit counts only
    if both numbers have a known unit.
    """

    absolute: Fraction | None = None
    relative: Fraction | None = None

    @property
    def version(self) -> str:
        told = {"abs": self.absolute, "rel": self.relative}
        words = ",".join(f"{name}={float(value):g}" for name, value in told.items() if value is not None)
        return f"numeric/1?{words}" if words else "numeric/1"

    def check(self, reference: Reference) -> None:
        for answer in checked_answers(reference):
            self._known(answer)

    def grade(self, reply: str, reference: Reference) -> Grade:
        known = [self._known(answer) for answer in checked_answers(reference)]
        number = number_of(final_answer(reply))
        if number is None:
            return WRONG
        score = float(any(self._is_right(number, each) for each in known))
        return Grade(score, f"{float(number.value):.12g}{number.unit}")

    def _known(self, answer: str) -> Number:
        number = only_number(answer)
        if number is None:
            raise BadReference(f"the answer {answer[:40]!r} is not one number")
        return number

    def _is_right(self, number: Number, known: Number) -> bool:
        if number.unit and known.unit and number.unit != known.unit:
            return number.is_percent and self._is_near(number.value / 100, known)
        shares = {number.value}
        if number.is_percent != known.is_percent:
            shares.add(number.value / 100 if number.is_percent else number.value * 100)
        return any(self._is_near(value, known) for value in shares)

    def _is_near(self, value: Fraction, known: Number) -> bool:
        if self.absolute is not None or self.relative is not None:
            allowed = max(self.absolute or Fraction(0), (self.relative or Fraction(0)) * abs(known.value))
        elif known.decimals is None:
            allowed = abs(known.value) / 10**9
        else:
            allowed = max(_RELATIVE_OF_DECIMALS * abs(known.value), Fraction(1, 2 * 10 ** min(known.decimals, 30)))
            if known.value.denominator == 1:  # 96.0 is 96, not 96.09
                allowed = min(allowed, Fraction(1, 20))
        return abs(value - known.value) <= allowed


def only_number(text: str) -> Number | None:
    """Return the number that a known answer is, with nothing else but a unit, a currency, an `x =`; else None."""
    text = plain(text).strip()
    found = numbers_in(text)
    if len(found) != 1:
        return None
    before, after = text[: found[0].start], text[found[0].end :]
    is_named = re.fullmatch(r"(?:[A-Za-z]{1,3}\s?[=≈]\s?)?[~≈]?\s?", before) is not None
    return found[0] if is_named and re.fullmatch(r"[^0-9]{0,20}", after) else None


def number_of(found: AnswerMatch) -> Number | None:
    """Return the single number of an answer; None if it gives none, or several to choose from."""
    pieces = (first_sentence(found.text), found.text) if found.is_marked else (found.text,)
    for piece in pieces:
        numbers = _after_equals(piece, numbers_in(piece))
        if not numbers:
            continue
        if len({number.value for number in numbers}) == 1:
            return numbers[0]
        if numbers[0].is_word and not found.is_marked:  # `one` and `two` have many other uses
            return None
        first, second = numbers[:2]
        if _JOINED.fullmatch(piece[first.end : second.start]):
            return None
        return first if found.is_marked else numbers[-1]
    return None


def _after_equals(text: str, numbers: list[Number]) -> list[Number]:
    """Return the numbers after the last equals sign, if there are any, else all."""
    signs = [sign.end() for sign in _EQUALS.finditer(text)]
    after = [number for number in numbers if signs and number.start >= signs[-1]]
    return after or numbers
