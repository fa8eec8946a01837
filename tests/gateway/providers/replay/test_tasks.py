"""Drawn tasks: the same for the same seed, varied, and their answers follow from what was drawn."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gateway.providers.replay.drawing.canvas import Sketch
from gateway.providers.replay.drawing.charts import bars, lines, pies
from gateway.providers.replay.drawing.counting import COLOURS, grids, nested_squares, shapes
from gateway.providers.replay.drawing.geometry import angles, floors, right_triangles
from gateway.providers.replay.drawing.receipts import receipts
from gateway.providers.replay.drawing.tables import tables
from gateway.providers.replay.tasks import FAMILIES, Task, draw_tasks

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))]


@cache
def drawn() -> tuple[Task, ...]:
    return tuple(draw_tasks(45, seed=3))


def sketch(draw: Callable[[np.random.Generator, int], Sketch], level: int, seed: int) -> tuple[Sketch, Any]:
    made = draw(np.random.default_rng(seed), level)
    return made, made.facts


@pytest.mark.slow
def test_same_seed_draws_the_same_and_another_one_differs() -> None:
    again = draw_tasks(6, seed=3)
    assert [(task.question, task.answer, task.image) for task in again] == [
        (task.question, task.answer, task.image) for task in drawn()[:6]
    ]
    other = draw_tasks(3, seed=4)
    assert all(a.image != b.image for a, b in zip(again, other, strict=False))


@pytest.mark.slow
def test_every_family_and_level_comes_and_no_two_tasks_are_alike() -> None:
    found = Counter((task.family, task.level) for task in drawn())
    assert set(found) == {(family, level) for family in FAMILIES for level in range(3)}
    assert len({(task.question, task.image) for task in drawn()}) == len(drawn())


@pytest.mark.slow
def test_images_are_whole_pngs_of_the_stated_size() -> None:
    for task in drawn():
        with Image.open(io.BytesIO(task.image)) as image:
            image.load()
            assert (image.format, image.size) == ("PNG", (task.width, task.height))
            assert len(image.getcolors(1 << 20) or ()) > 2


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_on_bar_charts_follow_from_their_values(seed: int) -> None:
    made, facts = sketch(bars, 0, seed)
    assert facts[re.findall(r"for (\w+)", made.question)[0]] == int(made.answer)
    made, facts = sketch(bars, 1, seed)
    assert int(made.answer) == max(facts.values()) - min(facts.values())
    made, facts = sketch(bars, 2, seed)
    assert int(made.answer) == sum(facts[name] for name in re.findall(r"[A-Z]\w+", made.question) if name in facts)


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_on_line_charts_follow_from_their_values(seed: int) -> None:
    made, facts = sketch(lines, 0, seed)
    (values,) = [series for name, series in facts.items() if name != "months"]
    assert values[facts["months"].index(made.answer)] == max(values)
    made, facts = sketch(lines, 1, seed)
    (values,) = [series for name, series in facts.items() if name != "months"]
    first, last = (facts["months"].index(month) for month in re.findall(r"from (\w+) to (\w+)", made.question)[0])
    assert int(made.answer) == values[last] - values[first]
    made, facts = sketch(lines, 2, seed)
    first_line, second_line = [series for name, series in facts.items() if name != "months"]
    gaps = [abs(a - b) for a, b in zip(first_line, second_line, strict=True)]
    assert gaps[facts["months"].index(made.answer)] == max(gaps)
    assert gaps.count(max(gaps)) == 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("level", range(3))
def test_pies_are_whole_and_their_answers_are_shares(level: int, seed: int) -> None:
    made, facts = sketch(pies, level, seed)
    assert sum(facts.values()) == 100
    assert min(facts.values()) >= 6
    assert int(made.answer) == sum(facts[name] for name in re.findall(r"[A-Z]\w+", made.question) if name in facts)


@pytest.mark.parametrize("seed", SEEDS)
def test_receipts_add_up(seed: int) -> None:
    for level in range(3):
        made, facts = sketch(receipts, level, seed)
        amounts = [quantity * price for quantity, (_, price) in zip(facts["quantities"], facts["items"], strict=True)]
        assert facts["total"] == sum(amounts) + facts["tax"]
        assert 0 < facts["paid"] - facts["total"] <= 1_000
        expected = (facts["total"], amounts[facts["hidden"] or 0], facts["paid"] - facts["total"])[level]
        assert made.answer == f"{expected / 100:.2f}"


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_on_tables_follow_from_their_cells(seed: int) -> None:
    made, facts = sketch(tables, 0, seed)
    head, city = re.findall(r"many (\w+) does (\w+)", made.question)[0]
    row, column = facts["cities"].index(city), facts["heads"].index(head.capitalize())
    assert int(made.answer) == facts["values"][row][column]
    made, facts = sketch(tables, 1, seed)
    assert int(made.answer) == sum(row[0] for row in facts["values"])
    made, facts = sketch(tables, 2, seed)
    bound = int(re.findall(r"more than (\d+)", made.question)[0])
    passing = {city: row[3] for city, row in zip(facts["cities"], facts["values"], strict=True) if row[0] > bound}
    assert passing[made.answer] == max(passing.values())
    assert list(passing.values()).count(passing[made.answer]) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_on_figures_follow_from_their_sides_and_angles(seed: int) -> None:
    for level in range(3):
        made, facts = sketch(angles, level, seed)
        assert int(made.answer) + facts["first"] + facts["second"] == 180
        made, facts = sketch(right_triangles, level, seed)
        assert facts["short"] ** 2 + facts["long"] ** 2 == facts["longest"] ** 2
        expected = (facts["longest"], facts["long"], facts["short"] * facts["long"] // 2)[level]
        assert int(made.answer) == expected
        made, facts = sketch(floors, level, seed)
        width, height, (notch_width, notch_height) = facts["width"], facts["height"], facts["notch"]
        rooms = (width * height, 2 * (width + height), width * height - notch_width * notch_height)
        assert int(made.answer) == rooms[level]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("level", range(3))
def test_shapes_that_count_are_there_in_pixels(level: int, seed: int) -> None:
    made, facts = sketch(shapes, level, seed)
    kind, colour = facts["wanted"]
    matching = [shape for shape in facts["drawn"] if shape[0] == kind and (level < 2 or shape[1] == colour)]
    assert int(made.answer) == len(matching)
    per_colour = Counter(shape[1] for shape in facts["drawn"])
    for name, count in per_colour.items():
        assert _spots(made.image, COLOURS[name]) == count


@pytest.mark.parametrize("level", range(3))
def test_squares_and_cells_are_counted(level: int) -> None:
    made, facts = sketch(nested_squares, level, 5)
    assert int(made.answer) == facts["count"]
    made, facts = sketch(grids, level, 5)
    assert int(made.answer) == facts["rows"] * facts["columns"]


def _spots(image: Image.Image, colour: tuple[int, int, int]) -> int:
    """Connected spots of exactly this colour that are larger than a smoothed edge."""
    left = {(int(x), int(y)) for y, x in np.argwhere((np.asarray(image) == colour).all(axis=2))}
    count = 0
    while left:
        spot = [left.pop()]
        size = 0
        while spot:
            x, y = spot.pop()
            size += 1
            beside = {(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)} & left
            left -= beside
            spot.extend(beside)
        count += size > 20
    return count
