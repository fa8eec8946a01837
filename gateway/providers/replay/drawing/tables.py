"""Tables of names and numbers."""

from __future__ import annotations

import numpy as np

from gateway.providers.replay.drawing.canvas import INK, RULE, WHITE, Canvas, Sketch, palette, pick, tint

CITIES = ("Lisbon", "Oslo", "Prague", "Vienna", "Dublin", "Athens", "Turin", "Ghent", "Malmo", "Porto", "Bergen")
COLUMNS = ("Desks", "Chairs", "Lamps", "Screens", "Shelves", "Phones")
LEFT, RIGHT, TOP = 32, 480, 62


def tables(generator: np.random.Generator, level: int) -> Sketch:
    """Draw a table. Level 0 asks for a cell, 1 for a column's sum, 2 for the largest value in rows that pass a
    condition.
    """
    rows, columns = ((4, 3), (5, 3), (8, 5))[level]
    cities = pick(generator, CITIES, rows)
    heads = pick(generator, COLUMNS, columns)
    values = np.stack([generator.permutation(np.arange(11, 98))[:rows] for _ in range(columns)], axis=1)
    canvas = Canvas()
    canvas.text((256, 30), "Inventory by office", 18)
    colour = palette(generator)[0]
    has_stripes = bool(generator.integers(2))
    height = min(40.0, 290 / (rows + 1))
    edges = [LEFT, *np.linspace(LEFT + 116, RIGHT, columns + 1)]
    canvas.box((LEFT, TOP), (RIGHT, TOP + height), fill=colour)
    for column, head in enumerate(["Office", *heads]):
        canvas.text(((edges[column] + edges[column + 1]) / 2, TOP + height / 2), head, 13, WHITE)
    for row, city in enumerate(cities):
        top = TOP + height * (row + 1)
        if has_stripes and row % 2:
            canvas.box((LEFT, top), (RIGHT, top + height), fill=tint(colour, 0.9))
        canvas.text(((edges[0] + edges[1]) / 2, top + height / 2), city, 13)
        for column in range(columns):
            place = ((edges[column + 1] + edges[column + 2]) / 2, top + height / 2)
            canvas.text(place, str(values[row, column]), 13)
        canvas.line([(LEFT, top), (RIGHT, top)], RULE)
    if not has_stripes:
        for edge in edges[1:-1]:
            canvas.line([(edge, TOP), (edge, TOP + height * (rows + 1))], RULE)
    canvas.box((LEFT, TOP), (RIGHT, TOP + height * (rows + 1)), outline=INK)
    facts = {"cities": cities, "heads": heads, "values": values.tolist()}
    question, answer = _ask(level, cities, heads, values)
    return Sketch(canvas.finish(), question, answer, facts)


def _ask(level: int, cities: list[str], heads: list[str], values: np.ndarray) -> tuple[str, str]:
    if level == 0:
        return f"How many {heads[1].lower()} does {cities[2]} have? Answer with the number only.", str(values[2, 1])
    if level == 1:
        total = int(values[:, 0].sum())
        return f"How many {heads[0].lower()} are there in all offices? Answer with the number only.", str(total)
    bound = int(np.median(values[:, 0]))
    passing = values[:, 0] > bound
    best = int(np.argmax(np.where(passing, values[:, 3], -1)))
    question = f"Of the offices with more than {bound} {heads[0].lower()}, which has the most {heads[3].lower()}?"
    return f"{question} Answer with the office's name.", cities[best]
