"""A table at a glance: counts of what was observed, and means over it alone."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from routers.table.summary import overview
from tests.fakes.synthetic import drawn_table, full_table


def test_means_are_over_observed_cells_alone() -> None:
    table, _ = drawn_table(missing=0.4)
    found = overview(table)
    assert found.cells == int(table.mask.sum())
    for column, one in enumerate(found.candidates):
        mine = table.mask[:, column]
        assert one.cells == int(mine.sum())
        assert math.isclose(one.coverage, mine.mean())
        assert math.isclose(one.score, table.score[mine, column].mean())
        assert math.isclose(one.cost_usd, table.cost_usd[mine, column].mean())
        assert math.isclose(one.output_tokens, table.output_tokens[mine, column].mean())
    assert math.isclose(found.oracle, np.nanmax(table.score[table.mask.any(axis=1)], axis=1).mean())


def test_best_is_the_cheaper_one_of_a_tie() -> None:
    table, _ = drawn_table(groups=2)
    equal = np.ones_like(table.score)
    cost = np.tile([3.0, 2.0, 1.0, 4.0], (len(table), 1))
    assert overview(replace(table, score=equal, cost_usd=cost)).best == "candidate-2"
    equal[0, 2] = 0
    assert overview(replace(table, score=equal, cost_usd=cost)).best == "candidate-1"


def test_groups_images_and_arrays_are_counted() -> None:
    table = full_table(Path())
    found = overview(table)
    assert (found.groups, found.largest_group) == (6, 4)
    assert (found.with_image, found.images, found.questions) == (1, 1, 24)
    assert found.arrays == tuple(table.arrays())


def test_table_without_a_cell_has_no_best() -> None:
    table, _ = drawn_table(groups=1)
    nothing = np.full_like(table.score, np.nan)
    for empty in (replace(table, score=nothing, cost_usd=nothing, output_tokens=nothing), table.take([])):
        found = overview(empty)
        assert (found.best, found.cells) == (None, 0)
        assert math.isnan(found.oracle)
        assert math.isnan(found.candidates[0].score)
