"""A single way to write the same thing: Unicode's variants, LaTeX and Markdown become plain text."""

from __future__ import annotations

import re
import unicodedata

LONGEST_REPLY = 20_000
"""The most characters of a reply that are read: its end, where answers are."""

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_VULGAR = re.compile("(?<=[0-9])(?=[¼-¾⅐-⅞])")
_THIN_SPACE_IN_NUMBER = re.compile("(?<=[0-9])[\u2009\u202f\u00a0](?=[0-9]{3}(?![0-9]))")
_SIGNS = str.maketrans(
    {"−": "-", "–": "-", "‐": "-", "‑": "-", "⁄": "/", "∕": "/", "÷": "/", "∗": "*", "·": "*", "⋅": "*"}
    | {"“": '"', "”": '"', "‘": "'", "’": "'", "٫": ".", "٬": ","}
)
_WRAPPER = re.compile(r"\\(?:boxed|text|textbf|textit|mathrm|mathbf|mathit|operatorname|fbox)\s?\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s?\{([^{}]*)\}\s?\{([^{}]*)\}")
_SHORT_FRACTION = re.compile(r"\\[dt]?frac\s?([0-9])\s?([0-9])")
_ROOT = re.compile(r"\\sqrt\s?\{([^{}]*)\}")
_BRACED_POWER = re.compile(r"\^\s?\{([^{}]*)\}")
_DEGREES = re.compile(r"\^\s?\\circ|\\degree|\\circ")
_COMMANDS = (
    (r"\times", "×"),
    (r"\approx", "≈"),
    (r"\cdot", "*"),
    (r"\pi", "π"),
    (r"\%", "%"),
    (r"\$", ""),
    ("{,}", ","),
)
_EMPTY = re.compile(r"\\(?:left|right|displaystyle|quad|qquad)(?![a-zA-Z])|\\[,;:!() \[\]]|\$|~")
_DEEPEST = 6
"""The deepest nesting of LaTeX commands."""


def plain(text: str) -> str:
    """Return the text without LaTeX, in one form of each character; digits of any script become ASCII.

    `10³` becomes `10^3` and `1½` becomes `1 1/2`: the usual normal form would make them 103 and 11/2.
    """
    text = text[-LONGEST_REPLY:]
    if not text.isascii():
        text = _plain_characters(text)
    return without_latex(text) if any(mark in text for mark in ("\\", "$", "{,}")) else text


def without_latex(text: str) -> str:
    """Remove LaTeX's marks, as far as answers use them."""
    text = _DEGREES.sub("°", text)
    for _ in range(_DEEPEST):
        before = text
        text = _WRAPPER.sub(r"\1", text)
        text = _ROOT.sub(r"√(\1)", _FRACTION.sub(r"\1/\2", _BRACED_POWER.sub(r"^\1", text)))
        if text == before:
            break
    text = _SHORT_FRACTION.sub(r"\1/\2", text)
    for command, stands_for in _COMMANDS:
        text = text.replace(command, stands_for)
    return _EMPTY.sub("", text)


def _plain_characters(text: str) -> str:
    text = _THIN_SPACE_IN_NUMBER.sub(",", text)
    text = _VULGAR.sub(" ", text)
    text = _RAISED.sub(lambda found: "^" + found[0].translate(_SUPERSCRIPTS), text)
    text = unicodedata.normalize("NFKC", text).translate(_SIGNS)
    return "".join([_plain_character(character) for character in text])


def _plain_character(character: str) -> str:
    if character.isascii():
        return character
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    return (
        "" if unicodedata.category(character) == "Cf" else character
    )  # Cf: characters without width, such as joiners and direction marks
