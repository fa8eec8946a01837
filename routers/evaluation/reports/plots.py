"""Drawings of every router's frontier on a table: the score that each cost buys, and the candidates used alone.

Colours are those of Okabe and Ito, "Color Universal Design" (2008), which colour-blind readers can distinguish; line
styles differ as well. This module imports matplotlib, of the `science` extra, so commands import it only when they
draw.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from routers.evaluation.bench import Stage, cost_grid
from routers.evaluation.judge import BASELINES
from routers.evaluation.reports.text import Row, ranked

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)), (0, (3, 1)), (0, (1, 1)))
_PER = 1000.0  # queries that a cost on the axis stands for

_PLACES = tuple((x, y) for y in (0, 9, -9, 18, -18, 27, -27, 36, -36) for x in (7, -7))
"""The possible offsets of a label from its data point, in typographic points, the best first."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """A box in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def shared(self, other: Bounds) -> float:
        """Return the area that both boxes cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)


def frontier_png(found: Sequence[Row], block: Stage) -> bytes:
    """Return the drawing of one table as PNG."""
    return _written(found, block, "png")


def frontier_svg(found: Sequence[Row], block: Stage) -> str:
    """Return the drawing of one table as an SVG element that needs no other file."""
    text = _written(found, block, "svg").decode()
    return text[text.index("<svg") :]


def drawn(found: Sequence[Row], table: str, most: int = len(PALETTE)) -> tuple[list[Row], list[Row]]:
    """Return the routers that get a colour (the best, and the one that Loupe ships), and the other routers."""
    routers = [row for row in ranked(found, table) if row.router not in BASELINES and not row.problem]
    chosen = routers[:most]
    shipped = [row for row in routers[most:] if row.is_default]
    chosen = [*chosen[: most - len(shipped)], *shipped]
    return chosen, [row for row in routers if row not in chosen]


def _written(found: Sequence[Row], block: Stage, form: str) -> bytes:
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "loupe", "font.size": 10}):
        figure = Figure(figsize=(11, 6.4), dpi=120, layout="constrained")
        _draw(figure, found, block)
        file = io.BytesIO()
        figure.savefig(file, format=form, metadata={"Date": None} if form == "svg" else {"Software": None})
    return file.getvalue()


def _draw(figure: Figure, found: Sequence[Row], block: Stage) -> None:
    axes = figure.add_subplot()
    grid = cost_grid(block) * _PER
    coloured, rest = drawn(found, block.name)
    for row in rest:
        axes.step(grid, row.curve, where="post", color="#BBBBBB", linewidth=0.9, zorder=1)
    if rest:
        axes.plot([], [], color="#BBBBBB", linewidth=0.9, label=f"{len(rest)} others")
    for place, row in enumerate(coloured):
        width = 2.6 if row.is_default else 1.6
        axes.step(
            grid,
            row.curve,
            where="post",
            color=PALETTE[place],
            linestyle="-" if row.is_default else _DASHES[place],
            linewidth=width,
            label=_label(row),
            zorder=4 if row.is_default else 3,
        )
    _draw_baselines(axes, found, block, grid)
    labels = _draw_singles(axes, block)
    if grid[0] > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"mean cost of {_PER:,.0f} queries, US$" + (", logarithmic" if grid[0] > 0 else ""))
    axes.set_ylabel("mean score on held-out queries")
    axes.set_title(f"{block.name}: the score that each cost buys", loc="left")
    axes.grid(True, color="#E6E6E6", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, title="router (nAUC)", alignment="left")
    figure.draw_without_rendering()  # computes the layout, so that the sizes of labels are known
    _place_labels(axes, labels)


def _draw_baselines(axes: Axes, found: Sequence[Row], block: Stage, grid: np.ndarray) -> None:
    dashes: dict[str, Any] = {"oracle": ":", "best_single": (0, (4, 2))}
    for row in ranked(found, block.name):
        if row.router in dashes:
            (line,) = axes.step(grid, row.curve, where="post", color="#555555", label=_label(row), zorder=2)
            line.set_linestyle(dashes[row.router])
        if row.router == "random" and np.isfinite(row.curve).any():
            first = int(np.flatnonzero(np.isfinite(row.curve))[0])
            axes.plot(grid[first], row.curve[first], "x", color="#555555", label=_label(row), zorder=5)


def _draw_singles(axes: Axes, block: Stage) -> list[Annotation]:
    names, singles = block.singles
    costs = singles.costs * _PER
    axes.plot(
        costs,
        singles.scores,
        "o",
        color="white",
        markeredgecolor="#222222",
        markersize=5,
        zorder=6,
        label="a candidate alone",
    )
    halo = [withStroke(linewidth=2.5, foreground="white")]
    style: dict[str, Any] = {"va": "center", "fontsize": 8, "zorder": 7, "path_effects": halo}
    return [
        axes.annotate(name, point, xytext=_PLACES[0], textcoords="offset points", **style)
        for name, point in zip(names, zip(costs.tolist(), singles.scores.tolist(), strict=True), strict=True)
    ]


def _place_labels(axes: Axes, labels: Sequence[Annotation]) -> None:
    """Move each label to the place where it covers least of the other labels and the points."""
    points = axes.transData.transform([label.xy for label in labels])
    taken = [Bounds(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    frame = axes.get_window_extent()
    for label in labels:
        crowding = {}
        for place in _PLACES:
            box = _moved(label, place)
            outside = box.left < frame.x0 or box.right > frame.x1 + 30
            crowding[place] = sum(box.shared(other) for other in taken) + 1e6 * outside
        taken.append(_moved(label, min(_PLACES, key=lambda place: crowding[place])))


def _moved(label: Annotation, place: tuple[int, int]) -> Bounds:
    label.set_position(place)
    label.set_horizontalalignment("left" if place[0] > 0 else "right")
    box = label.get_window_extent()
    return Bounds(box.x0, box.y0, box.x1, box.y1)


def _label(row: Row) -> str:
    view = "" if row.view in ("none", "both") else f", {row.view} only"
    shipped = ", shipped" if row.is_default else ""
    return f"{row.router}{view} ({row.figures['nauc'].mean:.3f}{shipped})"
