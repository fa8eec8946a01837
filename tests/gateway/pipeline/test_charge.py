"""The bill of one attempt, wherever it ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.billing.price import Price, cost
from gateway.billing.usage import Usage
from gateway.pipeline.charge import Charge
from gateway.routing.decision import Assessment
from gateway.routing.query import Query
from tests.gateway.billing.makers import candidate

PRICE = Price(1_000_000_000, 4_000_000_000)
INPUT_TOKENS = 50


def a_bill(granted: int = 10**12, *, choices: int = 1, **changes: Any) -> Charge:
    choice = Assessment(
        candidate("a", **{"price": PRICE, **changes}),
        forecast=None,
        input_tokens=INPUT_TOKENS,
        input_ceiling=200,
        output_limit=100,
        expected_cost=0,
        choices=choices,
        needed_output_tokens=1,
        score=0.0,
    )
    charge = Charge(choice, Query("", 0, 1))
    charge.granted = granted
    return charge


def test_a_new_bill_has_nothing_held_and_nothing_used() -> None:
    choice = Assessment(candidate("a"), None, INPUT_TOKENS, 200, 100, 0, 1, 1, 0.0)
    charge = Charge(choice, Query("", 0, 1))
    assert (charge.granted, charge.usage, charge.metered) == (0, Usage(0, 0), False)
    charge.sent()
    assert charge.amount == 0, "our own count is charged at most what is held"


def test_nothing_sent_costs_nothing() -> None:
    charge = a_bill()
    charge.seen(100)
    assert charge.amount == 0


def test_what_was_sent_costs_its_input() -> None:
    charge = a_bill()
    charge.sent()
    assert charge.amount == cost(PRICE, INPUT_TOKENS, 0)
    assert charge.metered


def test_an_attempt_without_a_first_byte_costs_nothing() -> None:
    charge = a_bill()
    charge.sent()
    charge.unsent()
    assert charge.amount == 0
    assert charge.usage == Usage(0, 0)
    assert not charge.metered
    charge.seen(7)
    assert (charge.amount, charge.tokens) == (0, 0), "not before it is sent again"


def test_a_reply_cut_short_costs_its_input_and_what_was_seen() -> None:
    charge = a_bill()
    charge.sent()
    charge.seen(7)
    assert charge.amount == cost(PRICE, INPUT_TOKENS, 7)


@given(st.integers(0, 10**9), st.integers(0, 10**6))
def test_our_own_count_is_charged_at_most_the_hold(granted: int, seen: int) -> None:
    charge = a_bill(granted)
    charge.sent()
    charge.seen(seen)
    assert charge.amount == min(granted, cost(PRICE, INPUT_TOKENS, seen))


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_the_providers_count_is_charged_as_it_is_within_the_hold(inputs: int, outputs: int) -> None:
    charge = a_bill(granted=2_000_000_000)
    charge.sent()
    charge.seen(5)
    charge.billed(Usage(inputs, outputs))
    assert charge.amount == min(cost(PRICE, inputs, outputs), 2_000_000_000)
    assert charge.exceeds_hold == (cost(PRICE, inputs, outputs) > 2_000_000_000)
    assert not charge.metered


def test_an_input_of_0_is_not_believed() -> None:
    charge = a_bill(reasoning_tokens=(300, 700))
    charge.sent()
    charge.billed(Usage(0, 70, reasoning_tokens=20), 7)
    assert (charge.usage, charge.metered) == (Usage(INPUT_TOKENS, 70, reasoning_tokens=20), True)
    assert charge.amount == cost(PRICE, INPUT_TOKENS, 70)


def test_an_output_of_0_is_believed_unless_words_were_seen() -> None:
    charge = a_bill()
    charge.sent()
    charge.billed(Usage(80, 0, cached_tokens=30))
    assert (charge.usage, charge.metered) == (Usage(80, 0, cached_tokens=30), False)
    charge.billed(Usage(80, 0, cached_tokens=30), 7)
    assert (charge.usage, charge.metered) == (Usage(80, 7, cached_tokens=30), True)


def test_a_usage_of_zeros_is_our_own_count() -> None:
    charge = a_bill()
    charge.sent()
    charge.billed(Usage(0, 0), 7)
    assert (charge.usage, charge.metered) == (Usage(INPUT_TOKENS, 7), True)
    charge.billed(Usage(0, 0))
    assert (charge.usage, charge.metered) == (Usage(INPUT_TOKENS, 0), True)


@pytest.mark.parametrize(
    ("usage", "is_believed"),
    [
        (Usage(200, 900), True),
        (Usage(1, 0), True),
        (Usage(0, 7), False),
        (Usage(201, 7), False),
        (Usage(50, 901), False),
    ],
)
def test_what_was_let_through_bounds_what_is_believed(usage: Usage, is_believed: bool) -> None:
    """By hand: an input of 200 at most, and 3 replies of 100 tokens and 200 of reasoning."""
    assert a_bill(choices=3, reasoning_tokens=(50, 200)).believes(usage) == is_believed


def test_no_more_tokens_are_counted_than_may_have_been_used() -> None:
    charge = a_bill()
    charge.sent()
    charge.billed(Usage(10**9, 10**9))
    assert charge.tokens == 300


def test_cached_input_is_billed_at_its_own_price() -> None:
    """By hand: 200 at 1 USD a million and 800 at 0.10; reasoning is part of the 50 tokens of output, at 4 USD."""
    charge = a_bill(price=Price(1_000_000_000, 4_000_000_000, 100_000_000))
    charge.sent()
    charge.billed(Usage(1_000, 50, cached_tokens=800, reasoning_tokens=40))
    assert charge.amount == 200 * 1_000 + 800 * 100 + 50 * 4_000


def test_thinking_that_no_one_counted_is_charged_at_its_mean_once_there_is_a_reply() -> None:
    charge = a_bill(reasoning_tokens=(300, 700))
    charge.sent()
    assert charge.usage == Usage(INPUT_TOKENS, 0)
    charge.seen(7)
    assert charge.amount == cost(PRICE, INPUT_TOKENS, 307)


def test_every_reply_that_was_asked_for_has_thought() -> None:
    """By hand: 7 tokens seen, and 300 thought for each of 3 replies."""
    charge = a_bill(choices=3, reasoning_tokens=(300, 700))
    charge.sent()
    charge.seen(7)
    assert (charge.usage, charge.tokens) == (Usage(INPUT_TOKENS, 907), INPUT_TOKENS + 907)


def test_its_tokens_are_input_and_output_once_it_was_sent() -> None:
    charge = a_bill()
    charge.seen(7)
    assert charge.tokens == 0
    charge.sent()
    assert charge.tokens == 50
    charge.seen(7)
    assert charge.tokens == 57
    charge.billed(Usage(150, 30, cached_tokens=80, written_tokens=10, reasoning_tokens=20))
    assert charge.tokens == 180
    charge.unsent()
    assert charge.tokens == 0


def test_input_that_was_written_to_the_cache_is_billed_at_its_own_price() -> None:
    """By hand: 900 at 1 USD a million, 100 at 1.25, 10 of output at 4."""
    charge = a_bill(price=Price(1_000_000_000, 4_000_000_000, 100_000_000, 1_250_000_000))
    charge.sent()
    charge.billed(Usage(1_000, 10, written_tokens=100))
    assert charge.amount == 900 * 1_000 + 100 * 1_250 + 10 * 4_000


def test_the_providers_count_is_charged_at_most_the_hold_and_noted_if_it_is_over() -> None:
    charge = a_bill(granted=60_000)
    charge.sent()
    charge.seen(100)
    assert (charge.amount, charge.exceeds_hold) == (60_000, False)
    charge.billed(Usage(50, 100))
    assert (charge.amount, charge.exceeds_hold) == (60_000, True)
    charge.billed(Usage(50, 2))
    assert (charge.amount, charge.exceeds_hold) == (58_000, False)
