"""Multiple choice: the letter, or the text of an option."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.outcomes.graders.answers import final_answer, first_sentence
from gateway.outcomes.graders.base import WRONG, BadReference, Grade, Reference, checked_answers
from gateway.outcomes.graders.exact import normal
from gateway.outcomes.graders.plain_text import LONGEST_REPLY

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LONE = re.compile(r"[\s(\[{*_\"'$.:]*([A-Za-z])[\s)\]}*_\"'$.:,]*")
_LEADING = re.compile(r"[\s(\[*_]*([A-Z])[*_]*\s?[).:,\]](?=[\s*_]|$)")
_NAMED = re.compile(r"\b(?i:option|choice|letter|answer)\s?(?:is\s)?[(\[*\"']{0,2}([A-Z])\b(?!')")
_SEVERAL = re.compile(r"\b[A-Z][)\]]?\s?(?:or|and|/|,|&)\s?[(\[]?[A-Z]\b(?!')")
_BRACKETED = re.compile(r"[(\[]([A-Z])[)\]]")
_BARE = re.compile(r"(?<![\w'-])([B-HJ-Z]|A(?!\s+[a-z])|I(?!['\s]))(?![\w'-])")
_OPTION_MARKS = (
    re.compile(r"\(([A-Z])\)\s*"),
    re.compile(r"(?:^|(?<=[\s;,]))([A-Z])[).:]\s+", re.MULTILINE),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """A grader: right if exactly one option is named, by its letter or its text, and it is a known answer."""

    version: str = "choice/1"

    def check(self, reference: Reference) -> None:
        _known_letters(reference, options_of(reference))

    def grade(self, reply: str, reference: Reference) -> Grade:
        options = options_of(reference)
        known = _known_letters(reference, options)
        letter = chosen_letter(reply, options)
        return WRONG if letter is None else Grade(float(letter in known), letter)


def chosen_letter(reply: str, options: Mapping[str, str]) -> str | None:
    """Return the letter of the option that a reply chooses; None if it names none, or several.

    Without options, any letter counts. An article (`A dog`) and letters inside words do not count.
    """
    found = final_answer(reply)
    texts = [found.text]
    if not found.is_marked:  # some replies give the answer first and the reasons after it
        lines = [line for line in reply[:LONGEST_REPLY].splitlines() if line.strip()]
        texts = [line for line in lines[:1] if _LONE.fullmatch(line)] + texts + lines[:1]
    for text in texts:
        letter = _letter_in(text, options)
        if letter is not None:
            return letter
    return None


def options_of(reference: Reference) -> Mapping[str, str]:
    """Return the given options, else the options that the question lists from A on."""
    return reference.options or listed_options(reference.question)


def listed_options(text: str) -> dict[str, str]:
    """Parse `(A) yes (B) no` or `A. yes B. no` to letter -> text; empty if there are not two options from A on."""
    for mark in _OPTION_MARKS:
        marks = list(mark.finditer(text))
        found: dict[str, str] = {}
        for place, each in enumerate(marks):
            if len(found) < len(LETTERS) and each[1] == LETTERS[len(found)]:
                end = next((later.start() for later in marks[place + 1 :] if later[1] != each[1]), len(text))
                found[each[1]] = text[each.end() : end].strip(" \t\r\n;,")
        if len(found) >= 2:
            return found
    return {}


def read_options(text: str) -> dict[str, str]:
    """Parse a cell of options: a JSON list or object, or lettered as in a question. Raises BadReference."""
    text = text.strip()
    if text.startswith(("[", "{")):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadReference(f"the options are not valid JSON: {error}") from None
        if isinstance(found, list):
            found = dict(zip(LETTERS, found, strict=False)) if len(found) <= len(LETTERS) else {}
        options = {str(letter).upper(): str(option) for letter, option in found.items()}
    else:
        options = listed_options(text)
    if len(options) < 2 or not all(letter in LETTERS and len(letter) == 1 for letter in options):
        raise BadReference(f"the options {text[:40]!r} are not two or more, lettered from A on")
    return options


def _known_letters(reference: Reference, options: Mapping[str, str]) -> set[str]:
    """Return the letters of the known answers. Raises BadReference for an answer that is not an option."""
    letters = set()
    for answer in checked_answers(reference):
        lone = _LONE.fullmatch(answer)
        letter = lone[1].upper() if lone else None
        if letter is None or (options and letter not in options):
            letter = _equal_option(answer, options)
        if letter is None:
            there = ", ".join(options) or "none"
            raise BadReference(f"the answer {answer[:40]!r} is none of the options ({there})")
        letters.add(letter)
    return letters


def _letter_in(text: str, options: Mapping[str, str]) -> str | None:
    allowed = options or LETTERS
    lone = _LONE.fullmatch(text)
    if lone:
        return lone[1].upper() if lone[1].upper() in allowed else None
    by_text = _equal_option(text, options) or _equal_option(first_sentence(text), options)
    if by_text is not None:
        return by_text
    if _SEVERAL.search(text):
        return None
    leading = _LEADING.match(text)
    if leading and leading[1] in allowed:
        return leading[1]
    for pattern in (_NAMED, _BRACKETED):
        letters = {letter.upper() for letter in pattern.findall(text)} & set(allowed)
        if letters:
            return letters.pop() if len(letters) == 1 else None
    letters = set(_BARE.findall(text)) & set(allowed)
    if letters:
        return letters.pop() if len(letters) == 1 else None
    return _contained_option(text, options)


def _equal_option(text: str, options: Mapping[str, str]) -> str | None:
    wanted = normal(text)
    equal = [letter for letter, option in options.items() if option and normal(option) == wanted]
    return equal[0] if len(equal) == 1 else None


def _contained_option(text: str, options: Mapping[str, str]) -> str | None:
    """Return the only option whose text is in the answer as whole words.

    An option within another option that is also there does not count.
    """
    inside = f" {_words(text)} "
    standing = {
        letter: words for letter, option in options.items() if (words := _words(option)) and f" {words} " in inside
    }
    longest = [
        letter
        for letter, words in standing.items()
        if not any(words != other and f" {words} " in f" {other} " for other in standing.values())
    ]
    return longest[0] if len(longest) == 1 else None


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", normal(text)))
