"""Bar, line and pie charts."""

from __future__ import annotations

import math

import numpy as np

from gateway.providers.replay.drawing.canvas import (
    FAINT,
    INK,
    RULE,
    WHITE,
    Canvas,
    Colour,
    Point,
    Sketch,
    palette,
    pick,
    tint,
)

LEFT, RIGHT, TOP, BOTTOM = 62, 488, 62, 326
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
THINGS = ("Apples", "Pears", "Plums", "Cherries", "Grapes", "Melons", "Lemons", "Figs", "Dates", "Peaches")
TITLES = ("Crates sold", "Fruit harvest", "Orders received", "Boxes shipped", "Stock on hand")
SERIES = ("North", "South", "East", "West")
GRID_STEP = 20


def bars(generator: np.random.Generator, level: int) -> Sketch:
    """Draw a bar chart. Level 0 asks for a bar's value, 1 for the tallest minus the shortest, 2 for a sum of bars."""
    count = (4, 6, 8)[level]
    names = pick(generator, THINGS, count)
    values = [int(value) for value in 5 * generator.choice(np.arange(2, 20), count, replace=False)]
    top = GRID_STEP * math.ceil((max(values) + 5) / GRID_STEP)
    colours = palette(generator)
    is_plain = bool(generator.integers(2))
    canvas = _chart(pick(generator, TITLES, 1)[0], top, shows_values=level < 2)
    step = (RIGHT - LEFT) / count
    for number, (name, value) in enumerate(zip(names, values, strict=True)):
        left = LEFT + step * (number + 0.18)
        height = (BOTTOM - TOP) * value / top
        fill = colours[0] if is_plain else colours[number % len(colours)]
        canvas.box((left, BOTTOM - height), (left + step * 0.64, BOTTOM), fill=fill)
        if level < 2:
            canvas.text((left + step * 0.32, BOTTOM - height - 9), str(value), 12)
        canvas.text((left + step * 0.32, BOTTOM + 14), name, 12 if count < 7 else 10)
    canvas.line([(LEFT, BOTTOM), (RIGHT, BOTTOM)], INK, 1.2)
    facts = dict(zip(names, values, strict=True))
    if level == 0:
        question, answer = f"What is the value of the bar for {names[1]}?", values[1]
    elif level == 1:
        question = "By how much is the tallest bar higher than the shortest bar?"
        answer = max(values) - min(values)
    else:
        question = f"What do {names[0]}, {names[3]} and {names[6]} add up to?"
        answer = values[0] + values[3] + values[6]
    return Sketch(canvas.finish(), f"{question} Answer with the number only.", str(answer), facts)


def lines(generator: np.random.Generator, level: int) -> Sketch:
    """Draw a line chart. Level 0 asks for the peak's month, 1 for a change, 2 for the widest gap between two lines."""
    count = (6, 8, 10)[level]
    start = int(generator.integers(0, len(MONTHS) - count + 1))
    months = MONTHS[start : start + count]
    names = pick(generator, SERIES, 2 if level == 2 else 1)
    series = {name: _walk(generator, count) for name in names}
    while level == 2 and not _has_single_widest(series[names[0]], series[names[1]]):
        series[names[1]] = _walk(generator, count)
    canvas = _chart("Visitors by month (thousands)", 100, shows_values=True)
    step = (RIGHT - LEFT) / count
    for number, month in enumerate(months):
        canvas.text((LEFT + step * (number + 0.5), BOTTOM + 14), month, 12)
    for (name, values), colour in zip(series.items(), palette(generator), strict=False):
        points = [
            (LEFT + step * (number + 0.5), BOTTOM - (BOTTOM - TOP) * value / 100) for number, value in enumerate(values)
        ]
        _draw_series(canvas, points, values if level < 2 else None, colour)
        if level == 2:
            _label_series(canvas, 40 + 90 * names.index(name), name, colour)
    canvas.line([(LEFT, BOTTOM), (RIGHT, BOTTOM)], INK, 1.2)
    question, answer = _ask_lines(level, months, list(series.values()), generator)
    return Sketch(canvas.finish(), question, answer, {"months": months, **series})


def pies(generator: np.random.Generator, level: int) -> Sketch:
    """Draw a pie chart. Level 0 asks for a printed share, 1 for the sum of two, 2 for a share that is not printed."""
    count = (3, 5, 6)[level]
    shares = _shares(generator, count)
    names = pick(generator, THINGS, count)
    colours = palette(generator)
    hidden = int(generator.integers(count)) if level == 2 else None
    canvas = Canvas()
    canvas.text((256, 28), "Share of sales by fruit", 18)
    centre: Point = (176, 210)
    angle = float(generator.integers(0, 360))
    for number, (name, share) in enumerate(zip(names, shares, strict=True)):
        sweep = 3.6 * share
        canvas.slice(centre, 132, angle, angle + sweep, colours[number])
        middle = math.radians(angle + sweep / 2)
        place = (centre[0] + 92 * math.cos(middle), centre[1] + 92 * math.sin(middle))
        canvas.text(place, "?" if number == hidden else f"{share}%", 14, WHITE)
        canvas.box((352, 92 + 34 * number), (370, 110 + 34 * number), fill=colours[number], radius=3)
        canvas.text((380, 101 + 34 * number), name, 14, anchor="lm")
        angle += sweep
    if hidden is not None:
        question, answer = f"What percentage of sales is {names[hidden]}?", shares[hidden]
    elif level == 0:
        question, answer = f"What percentage of sales is {names[0]}?", shares[0]
    else:
        question = f"What percentage of sales do {names[1]} and {names[3]} make together?"
        answer = shares[1] + shares[3]
    facts = dict(zip(names, shares, strict=True))
    return Sketch(canvas.finish(), f"{question} Answer with the number only.", str(answer), facts)


def _chart(title: str, top: int, *, shows_values: bool) -> Canvas:
    """Draw a title and a grid. Without printed values the grid is finer, because values can only be read from it."""
    canvas = Canvas()
    canvas.text((256, 28), title, 18)
    step = GRID_STEP if shows_values else GRID_STEP // 4
    for value in range(0, top + 1, step):
        height = BOTTOM - (BOTTOM - TOP) * value / top
        is_main = value % GRID_STEP == 0
        canvas.line([(LEFT, height), (RIGHT, height)], RULE if is_main else tint(RULE, 0.6))
        if is_main:
            canvas.text((LEFT - 8, height), str(value), 12, FAINT, anchor="rm")
    return canvas


def _draw_series(canvas: Canvas, points: list[Point], values: list[int] | None, colour: Colour) -> None:
    canvas.line(points, colour, 2.4)
    for number, point in enumerate(points):
        canvas.circle(point, 4, fill=colour, outline=WHITE, width=1)
        if values is not None:
            beside = values[max(0, number - 1) : number + 2]
            is_trough = values[number] == min(beside)  # at a trough the line runs above the point
            canvas.text((point[0], point[1] + (14 if is_trough else -13)), str(values[number]), 11)


def _label_series(canvas: Canvas, left: float, name: str, colour: Colour) -> None:
    canvas.line([(left, 363), (left + 22, 363)], colour, 3)
    canvas.text((left + 28, 363), name, 13, anchor="lm")


def _ask_lines(
    level: int, months: tuple[str, ...], series: list[list[int]], generator: np.random.Generator
) -> tuple[str, str]:
    values = series[0]
    if level == 0:
        peak = months[values.index(max(values))]
        return "In which month is the number of visitors highest? Answer with the month as printed.", peak
    if level == 1:
        first = int(generator.integers(0, len(values) - 3))
        last = first + 3
        question = f"By how many thousand does the number change from {months[first]} to {months[last]}?"
        return f"{question} Answer with the number only, negative for a fall.", str(values[last] - values[first])
    gaps = [abs(a - b) for a, b in zip(*series, strict=True)]
    widest = months[gaps.index(max(gaps))]
    return "In which month are the two lines furthest apart? Answer with the month as printed.", widest


def _walk(generator: np.random.Generator, count: int) -> list[int]:
    """Return different values in steps of 4, so that exactly one value is the highest."""
    return [int(value) for value in 4 * generator.choice(np.arange(3, 23), count, replace=False)]


def _has_single_widest(a: list[int], b: list[int]) -> bool:
    gaps = sorted((abs(x - y) for x, y in zip(a, b, strict=True)), reverse=True)
    return gaps[0] >= gaps[1] + 8


def _shares(generator: np.random.Generator, count: int) -> list[int]:
    """Return percentages of at least 6 that add up to 100."""
    weights = generator.dirichlet([3.0] * count)
    shares = [6 + int(weight * (100 - 6 * count)) for weight in weights]
    shares[0] += 100 - sum(shares)
    return shares
