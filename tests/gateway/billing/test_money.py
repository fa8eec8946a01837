"""Amounts: from text to nanodollars and back, always down and never a float."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.billing.money import LARGEST_USD, NANODOLLARS, from_usd, to_usd


@given(st.integers(0, LARGEST_USD * NANODOLLARS))
def test_amount_survives_being_written_and_read(amount: int) -> None:
    assert from_usd(to_usd(amount)) == amount


@given(st.integers(-(10**30), 10**30))
def test_written_amount_is_a_plain_decimal(amount: int) -> None:
    text = to_usd(amount)
    assert Fraction(text) == Fraction(amount, NANODOLLARS)
    assert "e" not in text.lower()
    assert "." not in text or not text.endswith(("0", "."))


@given(st.from_regex(r"\A[0-9]{1,6}\.[0-9]{0,60}\Z"))
@example("0.0000000009999999999999999999999999999999")
@example("0.99999999999999999999999999999999999999999")
@example("123456.78901234567890123456789")
def test_amount_is_rounded_down_whatever_its_length(text: str) -> None:
    assert from_usd(text) == Fraction(text) * NANODOLLARS // 1


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", 0),
        ("-0", 0),
        ("0.002", 2_000_000),
        (" 1.5 ", 1_500_000_000),
        ("+1", 1_000_000_000),
        ("1e-9", 1),
        ("9e-10", 0),
        ("1e-999999", 0),
        (".5", 500_000_000),
        ("1E2", 100_000_000_000),
        ("1000000", 1_000_000_000_000_000),
    ],
)
def test_amounts_that_are_read(text: str, amount: int) -> None:
    assert from_usd(text) == amount


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a decimal number"),
        ("cheap", "not a decimal number"),
        ("0x1", "not a decimal number"),
        ("$1", "not a decimal number"),
        ("1,5", "not a decimal number"),
        ("1_000", "not a decimal number"),
        ("1 2", "not a decimal number"),
        ("\u0661", "not a decimal number"),
        ("nan", "not a"),
        ("sNaN", "not a"),
        ("inf", "not a"),
        ("-Infinity", "not a"),
        ("-1", "negative"),
        ("-1e-300", "negative"),
        ("1e400", "over the largest"),
        ("1e999999999999999999999", "not a decimal number"),
        ("1000000.000000001", "over the largest"),
        ("9" * 5000, "over the largest"),
    ],
)
def test_anything_else_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refusal:
        from_usd(text)
    assert repr(text[:40]) in str(refusal.value)


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        amount = from_usd(text)
    except ValueError:
        return
    assert 0 <= amount <= LARGEST_USD * NANODOLLARS
