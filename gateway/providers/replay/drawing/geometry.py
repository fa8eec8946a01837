"""Figures of plane geometry with lengths and angles written on them."""

from __future__ import annotations

import math

import numpy as np

from gateway.providers.replay.drawing.canvas import FAINT, INK, Canvas, Colour, Point, Sketch, palette, tint

TRIPLES = ((3, 4, 5), (6, 8, 10), (5, 12, 13), (8, 15, 17), (9, 12, 15), (7, 24, 25), (12, 16, 20), (20, 21, 29))
CENTRE: Point = (256, 192)


def angles(generator: np.random.Generator, level: int) -> Sketch:
    """Ask for a triangle's third angle; at level 1 via an outer angle, at 2 in a triangle with two equal sides."""
    first = int(generator.integers(35, 76))
    second = int(generator.integers(35, 76))
    if level == 2:
        second = first
    third = 180 - first - second
    a, b, c = _triangle(first, second, 300)
    canvas = Canvas()
    colour = palette(generator)[0]
    canvas.shape([a, b, c], tint(colour, 0.85), colour, 2.5)
    shown = {"A": f"{first}°", "B": f"{second}°" if level == 0 else "", "C": "?"}
    if level == 1:
        outer = 180 - second
        canvas.dashes(b, (b[0] + 70, b[1]))
        canvas.text((b[0] + 24, b[1] - 16), f"{outer}°", 14)
    if level == 2:
        _tick(canvas, a, c)
        _tick(canvas, b, c)
    _mark_angle(canvas, a, -first, 0, shown["A"])
    if level == 0:
        _mark_angle(canvas, b, 180, 180 + second, shown["B"])
    _name_corners(canvas, {"A": a, "B": b, "C": c})
    canvas.text((c[0], c[1] + 34), shown["C"], 15)
    question = "How many degrees is the angle at C? Answer with the number only."
    return Sketch(canvas.finish(), question, str(third), {"first": first, "second": second})


def right_triangles(generator: np.random.Generator, level: int) -> Sketch:
    """Ask for a right triangle's longest side; at level 1 a shorter side, at 2 the area or, if that is not whole, the
    perimeter.
    """
    short, long, longest = TRIPLES[int(generator.integers(len(TRIPLES)))]
    if generator.integers(2):
        short, long = long, short
    scale = 270 / max(short, long)
    a: Point = (256 - short * scale / 2, 192 + long * scale / 2)
    b: Point = (256 + short * scale / 2, a[1])
    c: Point = (a[0], a[1] - long * scale)
    canvas = Canvas()
    colour = palette(generator)[0]
    canvas.shape([a, b, c], tint(colour, 0.85), colour, 2.5)
    canvas.box((a[0], a[1] - 14), (a[0] + 14, a[1]), outline=INK)
    labels = (str(short), str(long), "?") if level == 0 else (str(short), "?" if level == 1 else "", str(longest))
    canvas.text((256, a[1] + 17), labels[0], 15)
    canvas.text((a[0] - 18, 192), labels[1], 15)
    canvas.text((256 + 20, 192 - 14), labels[2], 15)
    _name_corners(canvas, {"A": a, "B": b, "C": c})
    facts = {"short": short, "long": long, "longest": longest}
    question, answer = (
        ("The angle at A is a right angle. How long is the side BC?", longest),
        ("The angle at A is a right angle. How long is the side AC?", long),
        ("The angle at A is a right angle. What is the area of the triangle?", short * long // 2),
    )[level]
    if level == 2 and short * long % 2:
        question, answer = (
            "The angle at A is a right angle. What is the perimeter of the triangle?",
            short + long + longest,
        )
    return Sketch(canvas.finish(), f"{question} Answer with the number only.", str(answer), facts)


def floors(generator: np.random.Generator, level: int) -> Sketch:
    """Ask for the area of a rectangle; at level 1 for the outline of an L shape, at 2 for its area."""
    width, height = int(generator.integers(8, 15)), int(generator.integers(6, 11))
    notch = (int(generator.integers(2, width - 3)), int(generator.integers(2, height - 2)))
    scale = min(330 / width, 240 / height)
    left, top = 256 - width * scale / 2, 186 - height * scale / 2
    right, bottom = left + width * scale, top + height * scale
    inner_x, inner_y = right - notch[0] * scale, top + notch[1] * scale
    corners: list[Point] = [(left, top), (right, top), (right, bottom), (left, bottom)]
    if level > 0:
        corners[1:2] = [(inner_x, top), (inner_x, inner_y), (right, inner_y)]
        canvas_labels = [
            ((inner_x + 20, (top + inner_y) / 2), notch[1]),
            (((inner_x + right) / 2, inner_y - 12), notch[0]),
        ]
    else:
        canvas_labels = []
    canvas = Canvas()
    colour: Colour = palette(generator)[0]
    canvas.shape(corners, tint(colour, 0.85), colour, 2.5)
    for place, length in [*canvas_labels, ((256, bottom + 16), width), ((left - 22, 186), height)]:
        canvas.text(place, f"{length} m", 14)
    canvas.text((256, 366), "all corners are right angles", 11, FAINT)
    facts = {"width": width, "height": height, "notch": notch}
    question, answer = (
        ("What is the area of the floor in square metres?", width * height),
        ("What is the perimeter of the floor in metres?", 2 * (width + height)),
        ("What is the area of the floor in square metres?", width * height - notch[0] * notch[1]),
    )[level]
    return Sketch(canvas.finish(), f"{question} Answer with the number only.", str(answer), facts)


def _triangle(first: int, second: int, base: float) -> tuple[Point, Point, Point]:
    """Return the corners of a triangle on a base, exact in its two base angles; smaller if it would be too tall."""
    rise_a, rise_b = math.tan(math.radians(first)), math.tan(math.radians(second))
    height = base / (1 / rise_a + 1 / rise_b)
    base *= min(1.0, 290 / height)
    height = base / (1 / rise_a + 1 / rise_b)
    left, bottom = CENTRE[0] - base / 2 - 20, CENTRE[1] + height / 2
    return (left, bottom), (left + base, bottom), (left + height / rise_a, bottom - height)


def _mark_angle(canvas: Canvas, corner: Point, start: float, end: float, words: str) -> None:
    canvas.arc(corner, 30, start, end)
    middle = math.radians((start + end) / 2)
    canvas.text((corner[0] + 52 * math.cos(middle), corner[1] + 52 * math.sin(middle)), words, 14)


def _tick(canvas: Canvas, a: Point, b: Point) -> None:
    """Draw a short stroke across the middle of a side: sides with such a stroke are equal."""
    x, y = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2
    length = math.dist(a, b)
    across = ((b[1] - a[1]) / length * 8, (a[0] - b[0]) / length * 8)
    canvas.line([(x - across[0], y - across[1]), (x + across[0], y + across[1])], INK, 2)


def _name_corners(canvas: Canvas, corners: dict[str, Point]) -> None:
    middle = [sum(point[axis] for point in corners.values()) / 3 for axis in (0, 1)]
    for name, (x, y) in corners.items():
        length = math.dist((x, y), middle)
        canvas.text((x + (x - middle[0]) / length * 17, y + (y - middle[1]) / length * 17), name, 15)
