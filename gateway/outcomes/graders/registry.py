"""The graders by the name that a data set or a command gives: `numeric`, `numeric:abs=0.5`, `auto`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

from gateway.outcomes.graders.anls import Anls
from gateway.outcomes.graders.base import BadReference, Grader, Reference
from gateway.outcomes.graders.choice import Choice, options_of
from gateway.outcomes.graders.exact import Exact
from gateway.outcomes.graders.json_schema import JsonSchema
from gateway.outcomes.graders.numeric import Numeric, only_number
from gateway.outcomes.graders.pattern import Pattern

AUTO = "auto"
Told = Mapping[str, Fraction]


def _numeric(told: Told) -> Grader:
    return Numeric(absolute=told.get("abs"), relative=told.get("rel"))


def _anls(told: Told) -> Grader:
    return Anls(told["threshold"]) if "threshold" in told else Anls()


GRADERS: dict[str, tuple[tuple[str, ...], Callable[[Told], Grader]]] = {
    "exact": ((), lambda _: Exact()),
    "numeric": (("abs", "rel"), _numeric),
    "choice": ((), lambda _: Choice()),
    "regex": ((), lambda _: Pattern()),
    "json_schema": ((), lambda _: JsonSchema()),
    "anls": (("threshold",), _anls),
}
"""A grader's name -> the options that may follow its colon, and the function that makes the grader
from their values.
"""


def grader_for(name: str, reference: Reference) -> Grader:
    """Return the grader of a name; `auto` chooses by the answer.

    Raises BadReference for an unknown grader, or one that cannot use this answer.
    """
    grader = _automatic(reference) if name == AUTO else grader_named(name)
    grader.check(reference)
    return grader


def grader_named(name: str) -> Grader:
    """Return any grader but `auto`. Raises BadReference for an unknown name, or an unknown option after its colon."""
    kind, _, words = name.partition(":")
    if kind not in GRADERS:
        raise BadReference(f"unknown grader {kind[:40]!r}; known: {', '.join((AUTO, *GRADERS))}")
    names, made = GRADERS[kind]
    told: dict[str, Fraction] = {}
    for word in words.split(",") if words else ():
        option, _, value = word.partition("=")
        if option not in names:
            raise BadReference(f"grader {kind!r} is not told {option[:40]!r}; it takes {', '.join(names) or 'nothing'}")
        told[option] = _share(name, value)
    return made(told)


def _share(name: str, text: str) -> Fraction:
    try:
        value = Fraction(text) if len(text) < 20 else Fraction(-1)
    except (ValueError, ZeroDivisionError):
        value = Fraction(-1)
    if not 0 <= value <= 10**9:
        raise BadReference(f"grader {name[:60]!r}: {text[:20]!r} is not a number of 0 or more")
    return value


def _automatic(reference: Reference) -> Grader:
    """Choose a grader: `choice` for a letter or an option's text, `numeric` for a number, else `exact`."""
    answers = [answer.strip() for answer in reference.alternatives]
    is_letter = all(len(answer) == 1 and "A" <= answer <= "Z" for answer in answers)
    if reference.options or (is_letter and (options_of(reference) or answers)):
        return Choice()
    if all(answer and only_number(answer) is not None for answer in answers):
        return Numeric()
    return Exact()
