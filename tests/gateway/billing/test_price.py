"""Prices: rounded once, up, and inverted exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.billing.price import (
    MILLION,
    Price,
    Tier,
    affordable_output_tokens,
    cost,
    cost_at_most,
    cost_with_cache,
)

PER_MILLION = st.integers(0, 100_000_000_000)
PRICES = st.builds(Price, PER_MILLION, PER_MILLION)
TOKENS = st.integers(0, 10_000_000)
GEMINI = Price(1_250, 10_000, 125, tiers=(Tier(200_000, Price(2_500, 15_000, 250)),))
"""As Gemini 2.5 Pro's list price, in millionths."""
CLAUDE = Price(3_000_000_000, 15_000_000_000, 300_000_000, 3_750_000_000)


@st.composite
def full_prices(draw: st.DrawFn) -> Price:
    """Prices with cached input, cache writes and up to two tiers, none cheaper than the one before."""
    writes = draw(st.booleans())
    inputs = outputs = written = 0
    found = []
    for _ in range(draw(st.integers(1, 3))):
        inputs, outputs, written = inputs + draw(PER_MILLION), outputs + draw(PER_MILLION), written + draw(PER_MILLION)
        cached = draw(st.none() | st.integers(0, inputs))
        found.append(Price(inputs, outputs, cached, written if writes else None))
    starts = sorted(draw(st.sets(TOKENS, min_size=len(found) - 1, max_size=len(found) - 1)))
    return replace(found[0], tiers=tuple(map(Tier, starts, found[1:])))


@given(PRICES, TOKENS, TOKENS)
def test_cost_is_rounded_once_and_up(price: Price, inputs: int, outputs: int) -> None:
    exact = Fraction(price.input_per_million * inputs + price.output_per_million * outputs, MILLION)
    assert cost(price, inputs, outputs) == ceil(exact)


@given(PRICES, TOKENS, TOKENS, TOKENS, TOKENS)
def test_one_bill_is_never_dearer_than_two(price: Price, a: int, b: int, c: int, d: int) -> None:
    together = cost(price, a + c, b + d)
    separate = cost(price, a, b) + cost(price, c, d)
    assert together <= separate <= together + 1


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


@given(full_prices(), TOKENS, TOKENS, TOKENS, TOKENS, TOKENS)
def test_no_split_of_a_shorter_input_costs_more_than_the_most(
    price: Price, inputs: int, fewer: int, outputs: int, cached: int, written: int
) -> None:
    part = min(inputs, fewer)
    bill = cost_with_cache(price, part, outputs, cached_tokens=cached, written_tokens=written)
    assert bill <= cost_at_most(price, inputs, outputs)
    if not written:
        assert bill <= cost(price, inputs, outputs)


@given(full_prices(), TOKENS, TOKENS, st.booleans())
def test_affordable_tokens_of_any_price_are_the_most_that_fit(
    price: Price, inputs: int, cap: int, writes: bool
) -> None:
    most = affordable_output_tokens(price, inputs, cap, may_write=writes)
    spent = cost_at_most if writes else cost
    if most is None:
        assert spent(price, inputs, 10**9) <= cap
    elif most < 0:
        assert spent(price, inputs, 0) > cap
    else:
        assert spent(price, inputs, most) <= cap < spent(price, inputs, most + 1)


def test_nothing_cached_costs_the_plain_price() -> None:
    assert cost_with_cache(CLAUDE, 1_000, 10, cached_tokens=0, written_tokens=0) == cost(CLAUDE, 1_000, 10)


def test_cached_and_written_input_have_their_own_prices() -> None:
    """By hand: 100 plain at 3 USD a million, 800 read at 0.30, 100 written at 3.75, 10 out at 15."""
    bill = cost_with_cache(CLAUDE, 1_000, 10, cached_tokens=800, written_tokens=100)
    assert bill == 100 * 3_000 + 800 * 300 + 100 * 3_750 + 10 * 15_000


def test_cache_without_a_price_of_its_own_costs_as_input() -> None:
    price = Price(1_000_000, 0)
    assert cost_with_cache(price, 10, 0, cached_tokens=4, written_tokens=4) == 10


def test_more_cached_than_there_is_is_cut_to_the_input() -> None:
    assert cost_with_cache(CLAUDE, 10, 0, cached_tokens=99, written_tokens=99) == 10 * 300


def test_all_tokens_of_a_long_input_cost_the_tiers_price() -> None:
    assert cost(GEMINI, 200_000, 1_000) == -(-(200_000 * 1_250 + 1_000 * 10_000) // MILLION)
    assert cost(GEMINI, 200_001, 1_000) == -(-(200_001 * 2_500 + 1_000 * 15_000) // MILLION)
    assert GEMINI.at(200_001) is GEMINI.dearest


@pytest.mark.parametrize(
    "build",
    [
        lambda: Price(1, 1, cached_input_per_million=2),
        lambda: Price(2, 2, tiers=(Tier(10, Price(1, 2)),)),
        lambda: Price(2, 2, tiers=(Tier(10, Price(2, 1)),)),
        lambda: Price(2, 2, None, 5, tiers=(Tier(10, Price(3, 3)),)),
        lambda: Price(1, 1, tiers=(Tier(10, Price(2, 2)), Tier(10, Price(3, 3)))),
        lambda: Price(1, 1, tiers=(Tier(10, GEMINI),)),
    ],
)
def test_prices_that_would_break_a_ceiling_are_refused(build: Callable[[], Price]) -> None:
    with pytest.raises(ValueError, match=r"cheaper|dearer|thresholds"):
        build()


def test_a_candidate_that_is_dear_for_long_inputs_is_not_free() -> None:
    assert not Price(0, 0, tiers=(Tier(10, Price(1, 1)),)).is_free
    assert not Price(0, 0, cache_write_per_million=1).is_free
