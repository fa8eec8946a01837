"""Draws the dashboard of spend against accuracy without Grafana: the panels' own queries, put to Prometheus, by
matplotlib. `python deploy/grafana/render.py --prometheus http://127.0.0.1:9090 --seconds 3600 --out docs`.

Needs matplotlib (`pip install 'loupe-gateway[science]'`).
"""

from __future__ import annotations

import argparse
import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter
from matplotlib.transforms import Bbox

BOARD = Path(__file__).parent / "dashboards" / "loupe-spend-accuracy.json"
SCATTERS = ("Routed, and each candidate alone", "By tenant and candidate")
OVER_TIME = (
    *("Cost by tenant", "Score by tenant", "Share of traffic by candidate"),
    *("Score: routed, best single, cheapest", "Cost: routed, best single, cheapest", "P_s, nAUC and QNC"),
    *("Cost by candidate", "Score by candidate", "Saved against the dearest"),
    "Refused",
)
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866", "#999999", "#225555", "#222255")
FIXED = {"routed": "#d62728", "best_single": "#4477aa", "cheapest": "#228833"}
STEPS = 120
Name = tuple[str, str, float, float]
"""A point's: text, colour, x and y."""
PLACES = ((8, 0), (-8, 0), (0, 11), (0, -11), (8, 9), (8, -9), (-8, 9), (-8, -9), (0, 19), (0, -19))
SIDES = {1: "left", 0: "center", -1: "right"}


@dataclass(frozen=True, slots=True)
class Source:
    """A Prometheus, and the time to show: its last `seconds`."""

    url: str
    end: float
    seconds: float

    def points(self, target: Mapping[str, Any], compared: str) -> dict[str, list[tuple[float, float]]]:
        """Of each series its legend, and (seconds since the epoch, value) in order."""
        every = max(self.seconds / STEPS, 1)
        window = f"{max(round(self.seconds / 10), 15)}s"
        expr = target["expr"].replace("$__rate_interval", window).replace("$__range", f"{round(self.seconds)}s")
        expr = expr.replace("$tenant", ".*").replace("$compared", compared)
        if target["instant"]:
            found = self._get("query", query=expr, time=self.end)
            series = [(each["metric"], [each["value"]]) for each in found]
        else:
            found = self._get("query_range", query=expr, start=self.end - self.seconds, end=self.end, step=every)
            series = [(each["metric"], each["values"]) for each in found]
        return {
            _legend(target, labels): [(float(at), float(value)) for at, value in values] for labels, values in series
        }

    def _get(self, what: str, **parameters: Any) -> list[dict[str, Any]]:
        sent = urllib.parse.urlencode(parameters).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}", sent, timeout=30) as reply:  # noqa: S310  it is told
            return list(json.load(reply)["data"]["result"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes spend-vs-accuracy.png and spend-vs-accuracy-over-time.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", required=True, metavar="URL")
    parser.add_argument("--seconds", type=float, default=3_600.0, help="how far back")
    parser.add_argument("--compared", default="all", metavar="TENANT", help="whose comparison")
    parser.add_argument("--note", default="", help="a line under the figures")
    parser.add_argument("--out", type=Path, default=Path("docs"), metavar="DIR")
    chosen = parser.parse_args(arguments)
    source = Source(chosen.prometheus, time.time(), chosen.seconds)
    panels = {panel["title"]: panel for panel in json.loads(BOARD.read_text(encoding="utf-8"))["panels"]}
    chosen.out.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10})
    for name, titles, draw, columns in (
        ("spend-vs-accuracy.png", SCATTERS, _scatter, 2),
        ("spend-vs-accuracy-over-time.png", OVER_TIME, _lines, 2),
    ):
        rows = -(-len(titles) // columns)
        height = 4.6 if draw is _scatter else 2.5 * rows
        figure, axes = plt.subplots(rows, columns, figsize=(12, height), layout="constrained", squeeze=False)
        foot = 0.03 if draw is _scatter else 0.012
        figure.get_layout_engine().set(rect=(0, foot, 1, 1 - foot))
        named: list[tuple[Axes, list[Name]]] = []
        for title, axis in zip(titles, axes.flat, strict=False):
            panel = next(panel for key, panel in panels.items() if key == title and panel["type"] != "stat")
            names = draw(axis, panel, source, chosen.compared)
            named.append((axis, names))
            axis.set_title(title, loc="left", fontweight="bold")
            axis.grid(alpha=0.25, linewidth=0.6)
        figure.draw_without_rendering()  # everything has its place now, and names can be put beside points
        for axis, names in named:
            _name_points(axis, names)
        figure.text(0.995, 0.002, chosen.note, ha="right", va="bottom", fontsize=7, color="#666666")
        figure.savefig(chosen.out / name, dpi=130)
        plt.close(figure)


def _scatter(axis: Axes, panel: Mapping[str, Any], source: Source, compared: str) -> list[Name]:
    """Draws the points; the names that they are still to have."""
    xs, ys = (source.points(target, compared) for target in panel["targets"])
    names = sorted(set(xs) & set(ys))
    by_tenant = any(" / " in name for name in names)
    groups = sorted({name.partition(" / ")[0] for name in names})
    texts: list[Name] = []
    for name in names:
        group, _, rest = name.partition(" / ")
        routed = name == "routed"
        colour = COLOURS[groups.index(group) % len(COLOURS)] if by_tenant else FIXED.get(name, "#4477aa")
        label = group if by_tenant and group not in axis.get_legend_handles_labels()[1] else None
        size, marker = (150, "*") if routed else (40, "o")
        axis.scatter(xs[name][-1][1], ys[name][-1][1], s=size, marker=marker, color=colour, label=label, zorder=3)
        texts.append((rest or name, colour, xs[name][-1][1], ys[name][-1][1]))
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"${value:g}"))
    axis.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.margins(x=0.22, y=0.12)
    axis.set_xlabel(panel["targets"][0]["legendFormat"])
    axis.set_ylabel(panel["targets"][1]["legendFormat"])
    if by_tenant:
        axis.legend(title="tenant", frameon=False, fontsize=8, loc="lower right")
    return texts


def _name_points(axis: Axes, texts: Sequence[Name]) -> None:
    """Each beside its point, where it covers least of other names and points."""
    points = [axis.transData.transform((x, y)) for _, _, x, y in texts]
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in points]
    for text, colour, x, y in texts:
        found = []
        for right, up in PLACES:
            how = {"fontsize": 7.5, "color": colour, "va": "center", "ha": SIDES[(right > 0) - (right < 0)]}
            put = axis.annotate(text, (x, y), xytext=(right, up), textcoords="offset points", **how)
            box = put.get_window_extent()
            outside = max(box.x1 - axis.bbox.x1, 0) * box.height
            found.append((outside + sum(_shared(box, other) for other in taken), put, box))
        _, best, box = min(found, key=lambda each: each[0])
        for _, put, _ in found:
            if put is not best:
                put.remove()
        taken.append(box)


def _shared(one: Bbox, other: Bbox) -> float:
    """The area that both cover."""
    both = Bbox.intersection(one, other)
    return 0.0 if both is None else both.width * both.height


def _lines(axis: Axes, panel: Mapping[str, Any], source: Source, compared: str) -> list[Name]:
    series: dict[str, list[tuple[float, float]]] = {}
    for target in panel["targets"]:
        series.update(source.points(target, compared))
    names = sorted(series)
    colours = {name: FIXED.get(name, COLOURS[place % len(COLOURS)]) for place, name in enumerate(names)}
    defaults = panel["fieldConfig"]["defaults"]
    if defaults["custom"]["stacking"]["mode"] != "none":
        times = sorted({at for points in series.values() for at, _ in points})
        heights = [[dict(series[name]).get(at, 0.0) for at in times] for name in names]
        axis.stackplot(_dates(times), heights, labels=names, colors=[colours[name] for name in names], alpha=0.85)
    else:
        for name in names:
            times, values = zip(*series[name], strict=True)
            axis.plot(_dates(times), values, label=name, color=colours[name], linewidth=1.6)
    _format(axis, defaults)
    axis.set_xlim(*_dates([source.end - source.seconds, source.end]))
    axis.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    return []


def _format(axis: Axes, defaults: Mapping[str, Any]) -> None:
    custom = defaults["custom"]
    if custom["scaleDistribution"]["type"] == "log":
        axis.set_yscale("log")
    if defaults["unit"] == "percentunit":
        axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    elif defaults["unit"] == "currencyUSD":
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"${value:g}"))
    if "min" in defaults or "max" in defaults:
        axis.set_ylim(defaults.get("min"), defaults.get("max"))
    axis.set_ylabel(custom["axisLabel"] or {"reqps": "a second"}.get(defaults["unit"], ""))
    locator = mdates.AutoDateLocator(minticks=4, maxticks=9)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator, show_offset=False))


def _dates(seconds: Sequence[float]) -> list[float]:
    return [at / 86_400 for at in seconds]  # days since the epoch, as matplotlib counts them


def _legend(target: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    if target["format"] == "table":
        return labels["point"]
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), target["legendFormat"])


if __name__ == "__main__":
    main()
