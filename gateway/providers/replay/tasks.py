"""The demo's tasks: drawn images of five families at three levels, each with its question and its answer."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from gateway.providers.replay.drawing.canvas import Sketch
from gateway.providers.replay.drawing.charts import bars, lines, pies
from gateway.providers.replay.drawing.counting import grids, nested_squares, shapes
from gateway.providers.replay.drawing.geometry import angles, floors, right_triangles
from gateway.providers.replay.drawing.receipts import receipts
from gateway.providers.replay.drawing.tables import tables

LEVELS = 3
Draw = Callable[[np.random.Generator, int], Sketch]
FAMILIES: Mapping[str, tuple[Draw, ...]] = {
    "charts": (bars, lines, pies),
    "receipts": (receipts,),
    "tables": (tables,),
    "geometry": (angles, right_triangles, floors),
    "counting": (shapes, nested_squares, grids),
}


@dataclass(frozen=True, slots=True)
class Task:
    """One question on one drawn image. `image` is a PNG file; `level` is 0 (easy) to 2 (hard)."""

    id: str
    family: str
    level: int
    question: str
    answer: str
    image: bytes
    width: int
    height: int
    facts: Mapping[str, object]


def draw_tasks(count: int, seed: int) -> list[Task]:
    """Draw `count` tasks, cycling through families and levels.

    The same seed draws the same tasks; a task does not depend on `count`.
    """
    return [_draw_task(number, seed) for number in range(count)]


def _draw_task(number: int, seed: int) -> Task:
    generator = np.random.default_rng((seed, number))
    family = tuple(FAMILIES)[number % len(FAMILIES)]
    rounds = number // len(FAMILIES)
    kinds = FAMILIES[family]
    level = (rounds // len(kinds)) % LEVELS
    sketch = kinds[rounds % len(kinds)](generator, level)
    file = io.BytesIO()
    sketch.image.save(file, format="PNG")
    return Task(
        id=f"demo_{number}",
        family=family,
        level=level,
        question=sketch.question,
        answer=sketch.answer,
        image=file.getvalue(),
        width=sketch.image.width,
        height=sketch.image.height,
        facts=sketch.facts,
    )
