"""Amounts of money as integers of nanodollars: 1 USD = 1,000,000,000. No amount in this module is ever a float."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from functools import lru_cache

NANODOLLARS = 1_000_000_000
LARGEST_USD = 1_000_000
"""The largest amount in USD; a larger amount is rejected as a mistake."""
_NANODOLLAR = Decimal("1e-9")


@lru_cache(1024)  # callers send the same few amounts again and again
def from_usd(text: str) -> int:
    """Return the nanodollars of a decimal amount in USD, rounded down.

    Raises ValueError, which says what is wrong with the text.
    """
    try:
        amount = Decimal(text.strip() if text.isascii() and "_" not in text else "")
    except InvalidOperation:
        raise ValueError(f"{text[:40]!r} is not a decimal number of USD") from None
    if not amount.is_finite():
        raise ValueError(f"{text[:40]!r} is not a finite number of USD")
    if amount < 0:
        raise ValueError(f"{text[:40]!r} is negative")
    if amount > LARGEST_USD:
        raise ValueError(f"{text[:40]!r} is over the largest amount, {LARGEST_USD} USD")
    return int(
        amount.quantize(_NANODOLLAR, rounding=ROUND_FLOOR).scaleb(9)
    )  # a product would round implicitly, also up


def to_usd(nanodollars: int) -> str:
    """Return the amount in USD as a plain decimal: no exponent, no trailing zeros (`0.00125`)."""
    sign = "-" if nanodollars < 0 else ""
    whole, part = divmod(abs(nanodollars), NANODOLLARS)
    if not part:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{part:09d}".rstrip("0")
