"""The outcome table: missing cells, rows and columns, and the union of tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routers.table import OutcomeTable, TableError, merge
from tests.routers.synthetic import drawn_table


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
    with pytest.raises(TableError, match="no candidate 'x'"):
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
