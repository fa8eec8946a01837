"""What the journal keeps, as a table: graded, priced, and missing where nothing is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gateway.outcomes.collect.dataset import Row
from gateway.outcomes.collect.journal import Answer, JournalState
from gateway.outcomes.collect.table import table_of, write_collected
from gateway.outcomes.datasets import load_encoder
from gateway.outcomes.graders.base import Grader, Reference
from gateway.outcomes.graders.numeric import Numeric
from gateway.outcomes.graders.pattern import Pattern
from routers.table.formats import read_table


def row(number: int, answer: str = "7", grader: Grader | None = None) -> Row:
    return Row(
        number,
        f"q{number}",
        "g",
        f"what is {number}?",
        None,
        Reference(answer),
        grader or Numeric(),
        {"answer": answer},
    )


def answer(text: str, cost: int = 1_234_567) -> Answer:
    return Answer(text, "stop", 100, 20, cost, False, 0.25, "set 1/2")


def test_a_cell_is_an_answer_graded_and_what_was_not_answered_is_missing(tmp_path: Path) -> None:
    kept = JournalState(
        answers={("q1", "a"): answer("7"), ("q1", "b"): answer("8"), ("q3", "b"): answer("Answer: 7.0", 1)}
    )
    collected = table_of([row(1), row(2), row(3)], ["a", "b"], kept)
    written = write_collected(collected, tmp_path, None)
    table = read_table(tmp_path)
    assert table.query_ids == ("q1", "q3"), "a row without an answer is left out"
    assert np.array_equal(table.score, [[1.0, 0.0], [np.nan, 1.0]], equal_nan=True)
    assert np.array_equal(table.cost_usd, [[0.001234567, 0.001234567], [np.nan, 1e-9]], equal_nan=True)
    assert table.input_tokens is not None and table.latency_s is not None and table.source is not None
    assert (table.input_tokens[0, 0], table.output_tokens[0, 0], table.latency_s[0, 0]) == (100, 20, 0.25)
    assert table.source.tolist() == [["collect numeric/1", "collect numeric/1"], ["", "collect numeric/1"]]
    assert table.details == {"answer": ("7", "7"), "grader": ("numeric/1", "numeric/1")}
    assert table.notes["prices"] == "a: set 1/2; b: set 1/2"
    assert (written["queries"], written["cells"], written["digest"]) == (2, 3, table.digest)


@pytest.mark.slow
def test_an_answer_that_takes_its_grader_too_long_is_missing_and_counted(tmp_path: Path) -> None:
    kept = JournalState(answers={("q1", "a"): answer("a" * 5_000), ("q2", "a"): answer("b")})
    collected = table_of([row(1, "(a+)+b", Pattern()), row(2, "b", Pattern())], ["a"], kept)
    assert collected.ungraded == 1
    assert collected.table.mask.tolist() == [[False], [True]]


@pytest.mark.slow
def test_nothing_answered_is_a_table_without_rows(tmp_path: Path) -> None:
    written = write_collected(table_of([row(1)], ["a"], JournalState()), tmp_path, load_encoder("fused-lite"))
    assert (written["queries"], written["cells"], written["encoder"]) == (0, 0, None)
    assert len(read_table(tmp_path)) == 0
