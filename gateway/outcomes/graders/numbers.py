"""Numbers as people write them: signs, thousands, fractions, powers of ten, roots, π, percent, units, words."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

_PLAIN = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_NUMBER = re.compile(
    rf"""
    (?<![\w.]) (?<![A-Za-z]-)             # no part of a word, of GPT-4, or of another number
    (?P<sign>[-+])? (?P<currency>[€£¥]\s?)?
    (?:
        (?P<whole>[0-9]+)\s(?P<part>[0-9]+\s?/\s?[0-9]+)(?![0-9.])    # 1 1/2
      | (?:(?P<root>√)\s?\(?\s?)? (?P<plain>{_PLAIN}) (?!\.?[0-9]) \)?
        (?:[eE](?P<exponent>[-+]?[0-9]{{1,3}})(?![0-9A-Za-z]))?
        (?:\s?[×x*]\s?10\s?\^\s?\(?(?P<power>[-+]?[0-9]{{1,3}})\)?)?
        (?:\s?\*?\s?√\s?\(?\s?(?P<rooted>{_PLAIN})\)?)?
        (?P<pi>\s?\*?\s?(?:π|pi\b))?
        (?:\s?/\s?(?P<divisor>[0-9]+(?:\.[0-9]+)?)(?![0-9]))?
      | (?P<bare_pi>π)(?:\s?/\s?(?P<pi_divisor>[0-9]+(?:\.[0-9]+)?)(?![0-9]))?
    )
    (?P<unit>\s?(?:%|°\s?[CF]?\b|percent\b|(?:[A-Za-zµ]{{1,14}})(?:/[A-Za-z]{{1,8}})?(?:\^[23])?))?
    """,
    re.VERBOSE,
)
_LONGEST = 60
"""The most characters of a number; a longer run is not a meaningful number, nor is a number over _LARGEST."""
_LARGEST = 10**100
EXACT_AS_DECIMALS = 12
_COUNTING = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_WORDS = {word: value for value, word in enumerate(_COUNTING)}
_WORD = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b", re.IGNORECASE)
_UNITS = {
    name: short
    for short, names in {
        "m": "meter meters metre metres",
        "cm": "centimeter centimeters centimetre centimetres",
        "mm": "millimeter millimeters millimetre millimetres",
        "km": "kilometer kilometers kilometre kilometres",
        "g": "gram grams",
        "kg": "kilogram kilograms",
        "s": "sec secs second seconds",
        "min": "mins minute minutes",
        "h": "hr hrs hour hours",
        "N": "newton newtons",
        "J": "joule joules",
        "V": "volt volts",
        "A": "amp amps ampere amperes",
        "W": "watt watts",
        "Ω": "ohm ohms",
        "°": "deg degree degrees",
        "%": "percent",
    }.items()
    for name in names.split()
}
_SYMBOLS = frozenset(_UNITS.values()) | {"m/s", "km/h", "L", "ml", "mL", "Pa", "K", "Hz", "°C", "°F", "Mg", "mg"}


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text, from `start` to `end`; `unit` is the short form of a known unit, else empty."""

    value: Fraction
    start: int
    end: int
    unit: str = ""
    decimals: int | None = None
    """Digits after the point; None for a whole number, many for fractions and roots, which decimals
    only approximate.
    """
    is_word: bool = False

    @property
    def is_percent(self) -> bool:
        return self.unit == "%"


def numbers_in(text: str) -> list[Number]:
    """Return the numbers of a plain text (see `plain`), in their order; number words only if there are no digits."""
    found = [number for match in _NUMBER.finditer(text) if (number := _number(match)) is not None]
    if found:
        return found
    words = _WORD.finditer(text)
    return [Number(Fraction(_WORDS[word[0].lower()]), word.start(), word.end(), is_word=True) for word in words]


def _number(match: re.Match[str]) -> Number | None:
    if match.end() - match.start() > _LONGEST:
        return None
    part = match.groupdict()
    try:
        value = _value(part)
    except ZeroDivisionError:
        return None
    if abs(value) > _LARGEST:
        return None
    unit = (part["unit"] or "").strip()
    squared = unit[-2:] if unit[-2:] in ("^2", "^3") else ""
    unit = unit.removesuffix(squared).replace("° ", "°")
    unit = _UNITS.get(unit.lower(), unit if unit in _SYMBOLS else "")
    _, point, digits = (part["plain"] or "").partition(".")
    is_rounded = any(part[name] for name in ("whole", "divisor", "root", "rooted", "pi", "bare_pi"))
    return Number(
        value=-value if part["sign"] == "-" else value,
        start=match.start(),
        end=match.end() if unit or match["unit"] is None else match.start("unit"),
        unit=unit + squared if unit else "",
        decimals=EXACT_AS_DECIMALS if is_rounded else len(digits) if point else None,
    )


def _value(part: dict[str, str | None]) -> Fraction:
    if part["whole"]:
        above, _, below = (part["part"] or "").partition("/")
        return int(part["whole"]) + Fraction(int(above), int(below))
    if part["bare_pi"]:
        return Fraction(math.pi) / Fraction(part["pi_divisor"] or 1)
    value = Fraction((part["plain"] or "0").replace(",", ""))
    if part["root"]:
        value = Fraction(math.sqrt(value))
    for power in (part["exponent"], part["power"]):
        if power:
            value *= Fraction(10) ** int(power)
    if part["rooted"]:
        value *= Fraction(math.sqrt(Fraction(part["rooted"].replace(",", ""))))
    if part["pi"]:
        value *= Fraction(math.pi)
    return value / Fraction(part["divisor"]) if part["divisor"] else value
