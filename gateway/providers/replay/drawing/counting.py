"""Pictures of things to count: shapes, nested squares, cells of a grid."""

from __future__ import annotations

import math

import numpy as np

from gateway.providers.replay.drawing.canvas import HEIGHT, WIDTH, Canvas, Colour, Point, Sketch, palette

KINDS = ("circles", "squares", "triangles")
COLOURS: dict[str, Colour] = {
    "red": (206, 62, 62),
    "blue": (58, 98, 190),
    "green": (66, 146, 84),
    "orange": (232, 142, 48),
}
TRIES = 400


def shapes(generator: np.random.Generator, level: int) -> Sketch:
    """Draw shapes to count. Level 0 has one kind, 1 two kinds, 2 two kinds in two colours, smaller and more of them."""
    radius = (34.0, 25.0, 19.0)[level]
    total = int(generator.integers(*((4, 8), (9, 14), (15, 23))[level]))
    places = _places(generator, total, radius)
    kinds = [KINDS[index] for index in generator.permutation(3)[: 1 if level == 0 else 2]]
    colours = [list(COLOURS)[index] for index in generator.permutation(4)[: 2 if level == 2 else 1]]
    drawn = [
        (kinds[int(generator.integers(len(kinds)))], colours[int(generator.integers(len(colours)))]) for _ in places
    ]
    canvas = Canvas()
    for (kind, colour), place in zip(drawn, places, strict=True):
        _draw(canvas, kind, place, radius, COLOURS[colour])
    wanted = (kinds[0], colours[0])
    count = sum(shape == wanted if level == 2 else shape[0] == kinds[0] for shape in drawn)
    name = f"{colours[0]} {kinds[0]}" if level == 2 else kinds[0]
    question = f"Count the {name} in the image. Answer with the number only."
    return Sketch(canvas.finish(), question, str(count), {"drawn": drawn, "wanted": wanted})


def nested_squares(generator: np.random.Generator, level: int) -> Sketch:
    """Draw squares inside squares, each at a random place in the square around it; ask for the number of squares."""
    count = int(generator.integers(*((2, 4), (4, 6), (6, 9))[level]))
    canvas = Canvas()
    colour = palette(generator)[0]
    side = 330.0
    left, top = (WIDTH - side) / 2, (HEIGHT - side) / 2
    for _ in range(count):
        canvas.box((left, top), (left + side, top + side), outline=colour, width=2.5)
        inner = side * float(generator.uniform(0.68, 0.78))
        room = side - inner - 16
        left += 8 + room * float(generator.uniform())
        top += 8 + room * float(generator.uniform())
        side = inner
    question = "Count total number of squares in the image. Answer with the number only."
    return Sketch(canvas.finish(), question, str(count), {"count": count})


def grids(generator: np.random.Generator, level: int) -> Sketch:
    """Draw an empty grid; ask for the number of its cells."""
    low, high = ((2, 5), (4, 7), (6, 10))[level]
    rows, columns = int(generator.integers(low, high)), int(generator.integers(low, high))
    canvas = Canvas()
    colour, width = palette(generator)[0], float(generator.uniform(1, 4))
    left, top = (float(edge) for edge in generator.integers(24, 90, 2))
    right, bottom = WIDTH - left, HEIGHT - top
    for x in np.linspace(left, right, columns + 1):
        canvas.line([(float(x), top), (float(x), bottom)], colour, width)
    for y in np.linspace(top, bottom, rows + 1):
        canvas.line([(left, float(y)), (right, float(y))], colour, width)
    question = "Count the cells of the grid, rows times columns. Answer with the number only."
    return Sketch(canvas.finish(), question, str(rows * columns), {"rows": rows, "columns": columns})


def _places(generator: np.random.Generator, count: int, radius: float) -> list[Point]:
    """Return centres of shapes that do not touch; fewer than `count` if no room is left."""
    places: list[Point] = []
    for _ in range(TRIES):
        place = (
            float(generator.uniform(radius + 8, WIDTH - radius - 8)),
            float(generator.uniform(radius + 8, HEIGHT - radius - 8)),
        )
        if all(math.dist(place, other) > 2.5 * radius for other in places):
            places.append(place)
        if len(places) == count:
            break
    return places


def _draw(canvas: Canvas, kind: str, place: Point, radius: float, colour: Colour) -> None:
    x, y = place
    if kind == "circles":
        canvas.circle(place, radius, fill=colour)
    elif kind == "squares":
        half = radius * 0.82
        canvas.box((x - half, y - half), (x + half, y + half), fill=colour)
    else:
        half = radius * 0.95
        canvas.shape([(x, y - radius), (x + half, y + radius * 0.7), (x - half, y + radius * 0.7)], fill=colour)
