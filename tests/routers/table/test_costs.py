"""Costs from tokens and a list of prices: what is not known has no cost, and what was assumed is noted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routers.table.costs import Price, priced
from routers.table.outcome_table import OutcomeTable, TableError
from tests.fakes.synthetic import drawn_table

PRICES = {"candidate-0": Price(2.5, 10), "candidate-1": Price(0, 1), "unused": Price(1, 1)}


def table_of(input_tokens: list[list[float]] | None, output_tokens: list[list[float]]) -> OutcomeTable:
    drawn, _ = drawn_table(groups=1)
    table = drawn.select(["candidate-0", "candidate-1"]).take(range(len(output_tokens)))
    tokens = None if input_tokens is None else np.array(input_tokens)
    return replace(table, input_tokens=tokens, output_tokens=np.array(output_tokens))


def test_cost_is_tokens_times_price_per_million() -> None:
    table = priced(table_of([[1000, 1000]], [[200, 300]]), PRICES, "2026-11")
    np.testing.assert_array_equal(table.cost_usd, [[(1000 * 2.5 + 200 * 10) / 1e6, 300 / 1e6]])
    assert table.notes == {"prices": "2026-11"}


def test_cell_without_its_tokens_has_no_cost() -> None:
    table = priced(table_of([[1000, np.nan], [np.nan, np.nan]], [[np.nan, 300], [200, np.nan]]), PRICES, "v")
    np.testing.assert_array_equal(table.cost_usd, [[np.nan, 300 / 1e6], [np.nan, np.nan]])


def test_input_tokens_are_assumed_only_on_demand_and_said() -> None:
    bare = table_of(None, [[200, 300], [np.nan, 1]])
    with pytest.raises(TableError, match="prices v: the table says no input tokens; say how many to assume"):
        priced(bare, PRICES, "v")
    table = priced(bare, PRICES, "v", input_tokens=400)
    np.testing.assert_array_equal(table.cost_usd, [[(400 * 2.5 + 2000) / 1e6, 300 / 1e6], [np.nan, 1 / 1e6]])
    assert table.notes == {"prices": "v", "input_tokens": "400 assumed in 3 cells"}
    known = priced(replace(table, input_tokens=np.full((2, 2), 9.0)), PRICES, "w", input_tokens=400)
    assert known.notes == {"prices": "w"}
    assert known.cost_usd[0, 0] == (9 * 2.5 + 2000) / 1e6


def test_free_input_need_not_be_known() -> None:
    table = table_of(None, [[200, 300]]).select(["candidate-1"])
    np.testing.assert_array_equal(priced(table, PRICES, "v").cost_usd, [[300 / 1e6]])


def test_candidates_without_price_are_named() -> None:
    with pytest.raises(TableError, match="prices v: none for 'candidate-1'"):
        priced(table_of(None, [[1, 1]]), {"candidate-0": Price(1, 1)}, "v")


def test_scores_tokens_and_queries_are_left_as_they_are() -> None:
    drawn, _ = drawn_table(groups=4, missing=0.3)
    table = priced(drawn, dict.fromkeys(drawn.candidates, Price(1, 1)), "v", input_tokens=5)
    assert table.input_tokens is None
    for name in ("score", "output_tokens"):
        assert table.arrays()[name].tobytes() == drawn.arrays()[name].tobytes()
    assert (np.isnan(table.cost_usd) == np.isnan(drawn.output_tokens)).all()


@pytest.mark.parametrize("usd", [-1.0, float("inf"), float("nan")])
def test_price_that_is_none_is_refused(usd: float) -> None:
    with pytest.raises(ValueError, match="output price"):
        Price(1, usd)
