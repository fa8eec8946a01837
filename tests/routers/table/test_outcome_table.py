"""The outcome table: missing cells, rows and columns, and the union of tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from routers.table.outcome_table import OutcomeTable, TableError, merge
from tests.fakes.same_table import assert_same_table
from tests.fakes.synthetic import drawn_table, full_table


def test_mask_is_where_a_score_was_observed() -> None:
    table, _ = drawn_table(missing=0.3)
    assert (table.mask == ~np.isnan(table.score)).all()
    assert 0 < table.mask.mean() < 1


@pytest.mark.parametrize("value", [-0.1, 1.1, np.inf])
def test_score_outside_0_to_1_is_refused_with_its_place(value: float) -> None:
    table, _ = drawn_table()
    score = table.score.copy()
    score[3, 1] = value
    with pytest.raises(TableError, match=r"candidate-1.*'q3' \(row 4\)"):
        replace(table, score=score)


@pytest.mark.parametrize("name", ["output_tokens", "cost_usd"])
def test_negative_or_infinite_amounts_are_refused(name: str) -> None:
    table, _ = drawn_table()
    for value in (-1.0, np.inf):
        values = np.full_like(table.score, value)
        with pytest.raises(TableError, match=name):
            replace(table, **{name: values})


def test_names_that_repeat_and_columns_that_do_not_fit_are_refused() -> None:
    table, _ = drawn_table(groups=2)
    with pytest.raises(TableError, match="query id 'q0' appears twice"):
        replace(table, query_ids=("q0",) * len(table))
    with pytest.raises(TableError, match="candidate 'a' appears twice"):
        replace(table, candidates=("a",) * 4)
    with pytest.raises(TableError, match="groups: 1 values for 8"):
        replace(table, groups=("g",))
    with pytest.raises(TableError, match="score is"):
        replace(table, score=table.score[:3])


def test_take_and_select_keep_cells_with_their_names() -> None:
    table, _ = drawn_table()
    part = table.take([5, 2]).select(["candidate-3", "candidate-0"])
    assert part.query_ids == ("q5", "q2")
    assert part.score.tolist() == table.score[[5, 2]][:, [3, 0]].tolist()
    with pytest.raises(TableError, match="unknown candidate 'x'; the table holds: "):
        table.select(["x"])


def test_merge_leaves_unseen_cells_missing() -> None:
    table, _ = drawn_table()
    left = table.take(range(100)).select(["candidate-0", "candidate-1"])
    right = table.take(range(100, 240)).select(["candidate-1", "candidate-2"])
    whole = merge([left, right])
    assert whole.candidates == ("candidate-0", "candidate-1", "candidate-2")
    assert np.isnan(whole.score[:100, 2]).all()
    assert np.isnan(whole.cost_usd[100:, 0]).all()
    assert (whole.score[:, 1] == table.score[:, 1]).all()


def test_merge_joins_the_cells_of_one_query() -> None:
    table, _ = drawn_table()
    halves = [table.select(["candidate-0"]), table.select(["candidate-2", "candidate-0"])]
    whole = merge(halves)
    assert len(whole) == len(table)
    assert (whole.score == table.select(["candidate-0", "candidate-2"]).score).all()


def test_merge_keeps_what_the_later_table_did_not_observe() -> None:
    table, _ = drawn_table()
    odd = np.arange(table.score.size).reshape(table.score.shape) % 2 == 1
    halves = [
        replace(table, **{name: np.where(odd == side, values, np.nan) for name, values in table.numbers()})
        for side in (True, False)
    ]
    assert merge(halves).digest == merge(halves[::-1]).digest == table.digest


def test_merge_refuses_contradictions() -> None:
    table, _ = drawn_table()
    with pytest.raises(TableError, match="two different values"):
        merge([table, replace(table, score=1 - table.score)])
    with pytest.raises(TableError, match="two different questions"):
        merge([table, replace(table, questions=("?",) * len(table))])
    with pytest.raises(TableError, match="no table"):
        merge([])


def test_merge_keeps_details_of_either_table() -> None:
    table, _ = drawn_table(groups=2)
    left = replace(table.take(range(4)), details={"subject": ("maths",) * 4})
    right = replace(table.take(range(4, 8)), details={"level": ("hard",) * 4})
    assert merge([left, right]).details == {
        "subject": ("maths",) * 4 + ("",) * 4,
        "level": ("",) * 4 + ("hard",) * 4,
    }


def test_digest_tells_tables_apart() -> None:
    table, _ = drawn_table()
    changed = table.score.copy()
    changed[0, 0] = 1 - changed[0, 0]
    others: list[OutcomeTable] = [
        replace(table, score=changed),
        replace(table, questions=("other", *table.questions[1:])),
        table.take(range(10)),
    ]
    assert table.digest == drawn_table()[0].digest
    assert len({table.digest, *(other.digest for other in others)}) == 4


def test_further_arrays_follow_their_rows_and_columns() -> None:
    table = full_table(Path())
    part = table.take([5, 2]).select(["candidate-3", "candidate-0"])
    assert list(part.arrays()) == [
        "score",
        "output_tokens",
        "cost_usd",
        "input_tokens",
        "latency_s",
        "weight",
        "source",
    ]
    for name, values in part.arrays().items():
        np.testing.assert_array_equal(values, table.arrays()[name][[5, 2]][:, [3, 0]], err_msg=name)
    assert part.notes == {"prices": "v1"}


def test_further_arrays_of_another_shape_or_below_0_are_refused() -> None:
    table = full_table(Path())
    for name in ("input_tokens", "latency_s", "weight"):
        with pytest.raises(TableError, match=f"{name} is"):
            replace(table, **{name: table.score[:1]})
        with pytest.raises(TableError, match=f"{name} of 'candidate-0'"):
            replace(table, **{name: np.full(table.score.shape, -1.0)})
    with pytest.raises(TableError, match="source is"):
        replace(table, source=np.full((1, 1), "x"))


def test_weights_are_1_where_nothing_is_said_and_0_where_nothing_was_observed() -> None:
    table, _ = drawn_table(groups=2, missing=0.3)
    assert (table.weights == table.mask).all()
    weight = np.full(table.score.shape, np.nan)
    weight[0] = 2.5
    weights = replace(table, weight=weight).weights
    assert (weights[0] == np.where(table.mask[0], 2.5, 0)).all()
    assert (weights[1:] == table.mask[1:]).all()


def test_digest_knows_further_arrays_and_forgets_absent_ones() -> None:
    bare, _ = drawn_table(groups=6, missing=0.3)
    table = full_table(Path())
    digests = {bare.digest, table.digest}
    digests |= {replace(bare, **{name: values}).digest for name, values in table.arrays().items() if name != "score"}
    assert replace(table, input_tokens=None, latency_s=None, weight=None, source=None).digest == bare.digest
    assert len(digests) == 6  # tokens and cost are bare's own


def test_merge_joins_further_arrays_where_one_table_has_them() -> None:
    full = full_table(Path())
    bare = replace(full, input_tokens=None, latency_s=None, weight=None, source=None, notes={})
    named = replace(bare, source=np.where(bare.mask, "another, longer name", ""))
    whole = merge([full.take(range(12)), named.take(range(12, 24))])
    np.testing.assert_array_equal(whole.arrays()["input_tokens"][:12], full.arrays()["input_tokens"][:12])
    assert np.isnan(whole.arrays()["weight"][12:]).all()
    assert set(whole.arrays()["source"][12:].ravel()) == {"", "another, longer name"}
    assert whole.notes == {"prices": "v1 + unstated"}
    assert merge([bare.take(range(12)), bare.take(range(12, 24))]).input_tokens is None


def test_merge_says_which_cell_contradicts() -> None:
    table, _ = drawn_table()
    score = table.score.copy()
    score[4, 2] = 1 - score[4, 2]
    with pytest.raises(
        TableError, match=r"score of 'candidate-2' for query 'q4' has two different values.*[01]\.0 and"
    ):
        merge([table, replace(table, score=score)])
    with pytest.raises(TableError, match="source of 'candidate-0'"):
        sources = [np.full(table.score.shape, name) for name in ("a", "bb")]
        merge([replace(table, source=source) for source in sources])


@given(st.integers(0, 2**31), st.lists(st.integers(0, 2), min_size=24, max_size=24))
def test_merge_of_any_pieces_is_the_whole(seed: int, pieces: list[int]) -> None:
    whole = full_table(Path())
    random = np.random.default_rng(seed)
    kept = []
    for piece in range(3):
        rows = [row for row, mine in enumerate(pieces) if mine == piece]
        columns = random.permutation(whole.candidates).tolist()
        cut = random.integers(1, len(columns) + 1)  # a piece may come in two, by columns, which then overlap
        kept += [whole.take(rows).select(part) for part in (columns[:cut], columns[cut - 1 :]) if part]
    merged = merge([kept[place] for place in random.permutation(len(kept))])
    row_of = {query_id: row for row, query_id in enumerate(merged.query_ids)}
    again = merged.take([row_of[query_id] for query_id in whole.query_ids]).select(whole.candidates)
    assert_same_table(again, whole)
    assert again.digest == whole.digest
