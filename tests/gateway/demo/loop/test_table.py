"""The loop demo's table: parted by whole groups, shuffled without loss, priced as it says."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from gateway.demo.loop.table import LoopTable, Row, group_of, part, prices, shuffled, write

ROWS = 120


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """40 groups of three rows; `b` costs 2 USD a million output tokens and 500 tokens at 4 USD a million of input."""
    rows = []
    for number in range(ROWS):
        row = {"dataset_idx": f"q{number}", "group": f"g{number // 3}", "question": f"question {number}", "answer": "7"}
        for name, price, left in (("a", 1e-6, 1e-4), ("b", 2e-6, 2e-3)):
            tokens = 10 + number % 17
            row |= {f"{name}_correct": str(number % 2), f"{name}_token": str(tokens)}
            row[f"{name}_cost"] = repr(left + price * tokens)
        rows.append(row)
    with (tmp_path / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "table.csv"


def parted(path: Path, seed: int = 0) -> LoopTable:
    return part(path, start=10, held_out=0.3, seed=seed)


def test_no_group_stands_in_two_parts(path: Path) -> None:
    table = parted(path)
    start, asked, held_out = ({group_of(row) for row in rows} for rows in (table.start, table.asked, table.held_out))
    assert not start & asked and not held_out & (start | asked)
    assert (len(table.start), len(held_out), table.candidates, table.name) == (10, 12, ("a", "b"), "table")
    assert table.asked and table.rows <= ROWS


def test_a_seed_parts_the_same_again_and_another_otherwise(path: Path) -> None:
    assert parted(path) == parted(path)
    assert parted(path).held_out != parted(path, seed=1).held_out


def test_shuffling_moves_labels_over_queries_and_candidates_and_loses_none(path: Path) -> None:
    rows: list[Row] = [{**row, "a_correct": "1", "b_correct": "0"} for row in parted(path).asked]
    rows[0] = {**rows[0], "b_correct": ""}
    moved = shuffled(rows, 0)
    assert [row["question"] for row in moved] == [row["question"] for row in rows]
    assert [row["a_token"] for row in moved] == [row["a_token"] for row in rows]
    labels = [Counter(row[name] for row in each for name in ("a_correct", "b_correct")) for each in (rows, moved)]
    assert labels[0] == labels[1]
    assert 0.3 < sum(row["a_correct"] == "1" for row in moved) / len(moved) < 0.7, "means are shuffled away, too"
    assert moved[0]["b_correct"] == "", "what is missing stays missing"


def test_prices_are_those_that_the_costs_follow(path: Path) -> None:
    found = prices(parted(path), input_tokens=500.0)
    assert (found["a"].output, found["b"].output) == (pytest.approx(1.0), pytest.approx(2.0))
    assert (found["a"].input, found["b"].input) == (pytest.approx(0.2), pytest.approx(4.0))


def test_a_part_is_written_as_it_was_read(path: Path, tmp_path: Path) -> None:
    table = parted(path)
    with write(table.start, tmp_path / "start.csv").open(newline="", encoding="utf-8") as file:
        assert tuple(csv.DictReader(file)) == table.start
