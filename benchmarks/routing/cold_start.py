"""Measure cold start: forecasts of a new candidate by price only, then after 64 and 400 of its outcomes.

`python -m benchmarks.routing.cold_start --json FILE --plot docs/newcomer.png`. The new candidate's column is hidden
from the training table. Then its outcomes on 64 and on 400 queries are shown, as `loupe collect` brings them, and the
router is fitted again with all other cells of the column missing. Forecasts are judged on groups that no router learned
from.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.result import command_of, write_json
from routers.algorithms.cold_start import widened
from routers.base import Router, Views
from routers.evaluation.judge import judge, of_candidates, routed
from routers.evaluation.protocol import SharedSweep
from routers.evaluation.reports.versions import package_versions
from routers.numeric.ridge import rows_of
from routers.registry import ALGORITHMS
from routers.table.numeric import load_offline
from routers.table.outcome_table import Dataset, OutcomeTable
from routers.table.split import grouped_splits
from routers.table.summary import column_means

NEWCOMERS = (
    ("DynaMath", "Claude-3.5-Sonnet"),
    ("DynaMath", "Qwen2-VL-72B"),
    ("DynaMath", "Gemini-1.5-Pro"),
    ("BlindTest", "Claude-3.5-Sonnet"),
    ("BlindTest", "Gemini-1.5-Pro"),
)
SHOWN = (0, 64, 400)
"""The numbers of known outcomes of the new candidate; with 0, it is forecast by price."""
MOST_ROWS = 1_500


@dataclass(frozen=True, slots=True)
class Found:
    """The Brier score of the new candidate's forecasts, and the router's nAUC, after `shown` of its outcomes."""

    table: str
    newcomer: str
    seed: int
    shown: int
    brier: float
    nauc: float


def measure(data: Dataset, newcomer: str, router: str, seed: int, most_rows: int = MOST_ROWS) -> list[Found]:
    """Measure one new candidate on one split: half of the groups to learn from, at most `most_rows` queries."""
    (split,) = grouped_splits(data.table.groups, 0.5, [seed])
    drawn = np.random.default_rng(seed).permutation(split.train)[:most_rows]
    known, test = data.table.take(drawn), data.table.take(split.test)
    views, asked = rows_of(data.views, drawn), rows_of(data.views, split.test)
    column = test.candidates.index(newcomer)
    found = []
    for shown in SHOWN:
        fitted = _fitted(router, (known, views), (newcomer, shown), seed)
        columns = np.array([fitted.candidates.index(name) for name in test.candidates], dtype=np.intp)
        forecast = of_candidates(fitted.forecast(asked), columns)
        brier = float(np.nanmean((forecast.quality[:, column] - test.score[:, column]) ** 2))
        nauc = judge(routed(router, forecast, (known, test), SharedSweep()), test, SharedSweep()).nauc
        found.append(Found(data.name, newcomer, seed, shown, brier, nauc))
    return found


def _fitted(router: str, data: tuple[OutcomeTable, Views], who: tuple[str, int], seed: int) -> Router:
    """Return a router that knows `shown` outcomes of the new candidate; with 0, only its price."""
    (known, views), (newcomer, shown) = data, who
    fit = ALGORITHMS[router].fit
    if shown:
        return fit(_with_outcomes(known, newcomer, shown), views, seed=seed)
    prices = dict(zip(known.candidates, column_means(known.cost_usd).tolist(), strict=True))
    return widened(fit(known.select([name for name in known.candidates if name != newcomer]), views, seed=seed), prices)


def _with_outcomes(table: OutcomeTable, newcomer: str, count: int) -> OutcomeTable:
    """Return the table with only the first `count` of the new candidate's cells; rows are in a random order already."""
    hidden: dict[str, Any] = {}
    for name, values in table.numbers():
        hidden[name] = values.copy()
        hidden[name][count:, table.candidates.index(newcomer)] = np.nan
    return replace(table, **hidden)


def report(found: Sequence[Found]) -> str:
    """Return two lines per new candidate: means over seeds and their standard deviations."""
    lines = [f"{'table':<11}{'newcomer':<20}{'':<7}" + "".join(f"{shown:>18}" for shown in SHOWN)]
    for table, newcomer in dict.fromkeys((each.table, each.newcomer) for each in found):
        for figure in ("brier", "nauc"):
            cells = []
            for shown in SHOWN:
                values = [
                    getattr(e, figure) for e in found if (e.table, e.newcomer, e.shown) == (table, newcomer, shown)
                ]
                spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
                cells.append(f"{np.mean(values):.4f}{spread}")
            lines.append(f"{table:<11}{newcomer:<20}{figure:<7}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)


def plot(found: Sequence[Found], path: Path) -> None:
    """Draw the Brier score of each new candidate's forecasts by the number of its known outcomes."""
    from matplotlib.figure import Figure  # noqa: PLC0415  an extra, needed only for a drawing

    figure = Figure(figsize=(8, 4.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for place, (table, newcomer) in enumerate(dict.fromkeys((each.table, each.newcomer) for each in found)):
        own = [e for e in found if (e.table, e.newcomer) == (table, newcomer)]
        means = [np.mean([e.brier for e in own if e.shown == shown]) for shown in SHOWN]
        style = "-" if table == "BlindTest" else "--"
        axes.plot(range(len(SHOWN)), means, style, marker="osD^v"[place % 5], label=f"{newcomer} on {table}")
    axes.set_xticks(range(len(SHOWN)), ["its price alone", *(f"{shown} outcomes" for shown in SHOWN[1:])])
    axes.set_ylabel("Brier score of its forecasts (less is better)")
    axes.set_title("A new candidate: what is known of it, and how well it is forecast", loc="left")
    axes.grid(True, axis="y", color="#E6E6E6", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, metadata={"Software": None})


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, and write the results if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="PNG")
    parser.add_argument("--router", default="linear_mf", choices=sorted(ALGORITHMS))
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--rows", type=int, default=MOST_ROWS, metavar="N", help="to learn from, at most")
    arguments = parser.parse_args(words)
    datasets = {data.name: data for data in load_offline().datasets}
    found = []
    for table, newcomer in NEWCOMERS:
        for seed in range(arguments.seeds):
            found += measure(datasets[table], newcomer, arguments.router, seed, arguments.rows)
    command = command_of("routing.cold_start", words)
    versions = package_versions()
    print(f"{command}\n{platform.processor() or platform.machine()}; {versions}; seeds 0 to {arguments.seeds - 1}")
    print(report(found))
    if arguments.json is not None:
        rows = [{name: getattr(each, name) for name in Found.__slots__} for each in found]
        result = {"command": command, "versions": versions, "router": arguments.router, "results": rows}
        write_json(arguments.json, result)
    if arguments.plot is not None:
        plot(found, arguments.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
