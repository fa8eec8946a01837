"""Prices: rounded once, up, and inverted exactly."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.pricing import MILLION, Price, affordable_output_tokens, cost

PER_MILLION = st.integers(0, 100_000_000_000)
PRICES = st.builds(Price, PER_MILLION, PER_MILLION)
TOKENS = st.integers(0, 10_000_000)


@given(PRICES, TOKENS, TOKENS)
def test_cost_is_rounded_once_and_up(price: Price, inputs: int, outputs: int) -> None:
    exact = Fraction(price.input_per_million * inputs + price.output_per_million * outputs, MILLION)
    assert cost(price, inputs, outputs) == ceil(exact)


@given(PRICES, TOKENS, TOKENS, TOKENS, TOKENS)
def test_one_bill_is_never_dearer_than_two(price: Price, a: int, b: int, c: int, d: int) -> None:
    together = cost(price, a + c, b + d)
    apart = cost(price, a, b) + cost(price, c, d)
    assert together <= apart <= together + 1


@given(PRICES, TOKENS, st.integers(0, 10**15))
def test_affordable_tokens_are_the_most_that_fit(price: Price, inputs: int, cap: int) -> None:
    most = affordable_output_tokens(price, inputs, cap)
    if most is None:
        assert price.output_per_million == 0
        assert cost(price, inputs, 10**9) <= cap
    elif most < 0:
        assert cost(price, inputs, 0) > cap
    else:
        assert cost(price, inputs, most) <= cap < cost(price, inputs, most + 1)


@given(PRICES, TOKENS, TOKENS)
def test_what_tokens_cost_affords_those_tokens(price: Price, inputs: int, outputs: int) -> None:
    most = affordable_output_tokens(price, inputs, cost(price, inputs, outputs))
    assert most is None or most >= outputs


def test_only_a_price_of_nothing_is_free() -> None:
    assert Price(0, 0).is_free
    assert not Price(1, 0).is_free
    assert not Price(0, 1).is_free


def test_a_single_token_of_a_cheap_candidate_costs_a_nanodollar() -> None:
    assert cost(Price(1, 1), 1, 0) == 1
    assert cost(Price(0, 1), 1_000, 0) == 0
