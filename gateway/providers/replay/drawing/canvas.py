"""A surface that is drawn at twice the size and scaled down smoothly at the end, and the colours used on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Point = tuple[float, float]

SCALE = 2
WIDTH, HEIGHT = 512, 384
INK: Colour = (38, 42, 51)
FAINT: Colour = (122, 128, 140)
RULE: Colour = (218, 221, 227)
WHITE: Colour = (255, 255, 255)
PALETTES: tuple[tuple[Colour, ...], ...] = (
    ((66, 103, 178), (229, 138, 58), (84, 158, 96), (200, 72, 72), (139, 104, 178), (128, 96, 84), (214, 124, 180)),
    ((27, 94, 122), (236, 166, 60), (188, 72, 60), (110, 160, 120), (72, 60, 110), (160, 140, 90), (90, 160, 190)),
    ((52, 73, 94), (26, 150, 130), (231, 106, 80), (240, 190, 70), (120, 130, 200), (90, 90, 90), (170, 80, 130)),
)


@dataclass(frozen=True, slots=True)
class Sketch:
    """An image with its question. `facts` are the numbers that the image was drawn from and that give the answer."""

    image: Image.Image
    question: str
    answer: str
    facts: Mapping[str, object]


class Canvas:
    """A surface to draw on. Coordinates are in final pixels, y downwards."""

    def __init__(self, width: int = WIDTH, height: int = HEIGHT, background: Colour = WHITE) -> None:
        self.width = width
        self.height = height
        self.background = background
        self._image = Image.new("RGB", (width * SCALE, height * SCALE), background)
        self._draw = ImageDraw.Draw(self._image)

    def finish(self) -> Image.Image:
        """Return the image in its final size."""
        return self._image.resize((self.width, self.height), Image.Resampling.LANCZOS)

    def text(self, at: Point, words: str, size: int = 13, fill: Colour = INK, anchor: str = "mm") -> None:
        """Draw words at a point; `anchor` is as in Pillow: horizontal l, m, r and vertical a, m, s."""
        font = ImageFont.load_default(size * SCALE)
        self._draw.text(_scaled(at), words, fill=fill, font=font, anchor=anchor)

    def line(self, points: Sequence[Point], fill: Colour = INK, width: float = 1.0) -> None:
        self._draw.line([_scaled(point) for point in points], fill=fill, width=_thick(width), joint="curve")

    def dashes(self, start: Point, end: Point, fill: Colour = FAINT, dash: float = 5.0) -> None:
        """Draw a dashed straight line."""
        x, y = end[0] - start[0], end[1] - start[1]
        count = max(1, int((x * x + y * y) ** 0.5 / dash / 2))
        for number in range(count):
            a, b = number / count, (number + 0.5) / count
            self.line([(start[0] + a * x, start[1] + a * y), (start[0] + b * x, start[1] + b * y)], fill)

    def box(
        self,
        corner: Point,
        opposite: Point,
        fill: Colour | None = None,
        outline: Colour | None = None,
        width: float = 1.0,
        radius: float = 0.0,
    ) -> None:
        """Draw a rectangle between two corners, top left first."""
        edges = [_scaled(corner), _scaled(opposite)]
        self._draw.rounded_rectangle(edges, radius * SCALE, fill, outline, _thick(width))

    def circle(
        self,
        centre: Point,
        radius: float,
        fill: Colour | None = None,
        outline: Colour | None = None,
        width: float = 1.0,
    ) -> None:
        self._draw.ellipse(_around(centre, radius), fill, outline, _thick(width))

    def slice(self, centre: Point, radius: float, start: float, end: float, fill: Colour) -> None:
        """Draw a slice of a pie between two angles in degrees, clockwise from three o'clock."""
        self._draw.pieslice(_around(centre, radius), start, end, fill, WHITE, _thick(1.5))

    def arc(self, centre: Point, radius: float, start: float, end: float, fill: Colour = INK) -> None:
        self._draw.arc(_around(centre, radius), start, end, fill, _thick(1.5))

    def shape(
        self,
        points: Sequence[Point],
        fill: Colour | None = None,
        outline: Colour | None = None,
        width: float = 1.0,
    ) -> None:
        """Draw a polygon."""
        corners = [_scaled(point) for point in points]
        if fill is not None:
            self._draw.polygon(corners, fill)
        if outline is not None:
            self._draw.line([*corners, *corners[:2]], outline, _thick(width), joint="curve")


def palette(generator: np.random.Generator) -> list[Colour]:
    """Return one of the palettes, shuffled."""
    colours = PALETTES[int(generator.integers(len(PALETTES)))]
    return [colours[index] for index in generator.permutation(len(colours))]


def pick(generator: np.random.Generator, choices: Sequence[str], count: int) -> list[str]:
    """Return `count` different choices, in random order."""
    return [choices[index] for index in generator.permutation(len(choices))[:count]]


def tint(colour: Colour, share: float) -> Colour:
    """Return the colour mixed with white; a `share` of 1 is white."""
    red, green, blue = (round(part + (255 - part) * share) for part in colour)
    return red, green, blue


def _scaled(point: Point) -> tuple[float, float]:
    return point[0] * SCALE, point[1] * SCALE


def _thick(width: float) -> int:
    return max(1, round(width * SCALE))


def _around(centre: Point, radius: float) -> list[tuple[float, float]]:
    x, y = centre
    return [_scaled((x - radius, y - radius)), _scaled((x + radius, y + radius))]
