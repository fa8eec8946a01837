"""The simulated outcome table: the same for the same seed, true to its stated means, and readable by the pool."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gateway.billing.price import cost
from gateway.providers.replay import read_table
from gateway.providers.replay.candidates import CANDIDATES
from gateway.providers.replay.drawn_table import SimulatedTable, simulate, write_table
from gateway.providers.replay.tasks import FAMILIES, Task, draw_tasks


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    return draw_tasks(10, seed=2)


@pytest.fixture(scope="module")
def large(tasks: list[Task]) -> SimulatedTable:
    many = [replace(tasks[number % 5], level=1, id=str(number)) for number in range(20_000)]
    return simulate(many, CANDIDATES, seed=5)


@pytest.mark.slow
def test_same_seed_simulates_the_same_and_another_one_differs(tasks: list[Task]) -> None:
    first, again, other = (simulate(tasks, CANDIDATES, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.right, again.right)
    assert np.array_equal(first.output_tokens, again.output_tokens)
    assert not np.array_equal(first.output_tokens, other.output_tokens)


@pytest.mark.slow
def test_scores_come_to_the_stated_means_at_the_middle_level(large: SimulatedTable) -> None:
    for row, family in enumerate(FAMILIES):
        for column, candidate in enumerate(CANDIDATES):
            assert large.right[row::5, column].mean() == pytest.approx(candidate.means[family], abs=0.03)


@pytest.mark.slow
def test_harder_tasks_are_answered_less_often(tasks: list[Task]) -> None:
    scores = [simulate([replace(tasks[0], level=level)] * 3_000, CANDIDATES, seed=1).right.mean() for level in range(3)]
    assert scores[0] > scores[1] + 0.05 > scores[2] + 0.1


@pytest.mark.slow
def test_candidates_are_right_together_about_as_in_real_tables(large: SimulatedTable) -> None:
    correlation = np.corrcoef(large.right[::5].T.astype(float))
    assert 0.25 < correlation[np.triu_indices(len(CANDIDATES), 1)].mean() < 0.45


def test_tokens_are_around_their_medians_and_never_none(large: SimulatedTable) -> None:
    assert large.output_tokens.min() >= 6
    for column, candidate in enumerate(CANDIDATES):
        assert np.median(large.output_tokens[::5, column]) == pytest.approx(candidate.median_tokens("charts"), rel=0.05)
        assert np.median(large.output_tokens[4::5, column]) == pytest.approx(
            candidate.median_tokens("counting"), rel=0.1
        )


def test_cost_is_the_gateways_own(large: SimulatedTable) -> None:
    costs = large.costs()
    assert costs[7, 3] == cost(CANDIDATES[3].price(), int(large.input_tokens[7, 3]), int(large.output_tokens[7, 3]))
    assert (costs > 0).all()


def test_catalog_spans_prices_and_families() -> None:
    prices = [candidate.price().output_per_million for candidate in CANDIDATES]
    assert max(prices) >= 100 * min(prices)
    assert len({candidate.image_tokens for candidate in CANDIDATES}) == 6


def test_written_table_is_mmr_bench_csv_that_the_pool_reads(tasks: list[Task], tmp_path: Path) -> None:
    table = simulate(tasks, CANDIDATES, seed=3)
    path = write_table(table, tmp_path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(tasks)
    required = {"dataset_idx", "group", "question", "answer", "img_path", "image_width", "image_height"}
    outcomes = {f"{c.name}_{kind}" for c in CANDIDATES for kind in ("correct", "token", "cost", "prompt_token")}
    assert required | outcomes <= set(rows[0])
    read = read_table([path])
    assert read.candidates == tuple(candidate.name for candidate in CANDIDATES)
    for number, query in enumerate(read.queries):
        assert query.answer == tasks[number].answer
        for column, candidate in enumerate(CANDIDATES):
            cell = query.cells[candidate.name]
            assert cell.is_right == table.right[number, column]
            assert cell.completion_tokens == table.output_tokens[number, column]
            assert cell.prompt_tokens == table.input_tokens[number, column]
