"""The results of `loupe bench` as rows, one per router over its seeds, and as a text table, Markdown and JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from routers.base import Floats
from routers.evaluation.bench import PolicyResult, Stage
from routers.evaluation.bootstrap import FIGURES, interval
from routers.evaluation.metrics import mean_and_spread
from routers.registry import DEFAULT

HEADINGS = {
    "nauc": "nAUC",
    "peak_score": "P_s",
    "qnc": "QNC",
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "ece": "ECE",
}
"""Figure -> its heading; reports show figures in this order."""

_JSON_NAMES = {"log_loss": "logloss"}


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure over seeds: its mean, its sample standard deviation, and the bootstrap's 95% interval of the mean."""

    mean: float
    spread: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """The results of one policy on one block.

    Attributes:
        figures: the figures by the names of `FIGURES`.
        reached: the share of seeds in which the policy reaches the best single, so that its QNC is finite.
        qnc_where_reached: the mean QNC over those seeds; NaN where there are none.
        curve: [CURVE_POINTS] mean over the seeds.
        problem: why a figure is missing; empty where none is missing.
    """

    protocol: str
    table: str
    learned_from: tuple[str, ...]
    router: str
    view: str
    figures: Mapping[str, Figure]
    reached: float
    qnc_where_reached: float
    curve: Floats
    fit_s: float
    predict_us: float
    problem: str

    @property
    def is_default(self) -> bool:
        """Return whether the row is of the router that Loupe ships, with the views that it has in service."""
        return self.router == DEFAULT and self.view == "both"


def rows(blocks: Sequence[Stage], found: Iterable[PolicyResult]) -> list[Row]:
    """Return one row per block, policy, view and protocol, in the order of their first results."""
    gathered: dict[tuple[int, str, str, str], list[PolicyResult]] = {}
    for judged in found:
        key = (judged.task.block, judged.policy, judged.task.view, judged.protocol)
        gathered.setdefault(key, []).append(judged)
    return [_row(blocks[key[0]], of_seeds) for key, of_seeds in gathered.items()]


def ranked(found: Sequence[Row], table: str) -> list[Row]:
    """Return the rows of one table (of one protocol), the highest nAUC first; rows without nAUC come last."""
    own = [row for row in found if row.table == table]
    return sorted(own, key=lambda row: -_or_least(row.figures["nauc"].mean))


def as_text(found: Sequence[Row], table: str) -> str:
    """Return the table for a terminal; `*` marks the router that Loupe ships."""
    lines = [["", "router", "view", *HEADINGS.values(), "fit s", "us/query"]]
    for row in ranked(found, table):
        mark = "*" if row.is_default else ""
        lines.append([mark, row.router, row.view, *(shown(row, name) for name in HEADINGS), *times(row)])
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < 3 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def as_markdown(found: Sequence[Row], table: str) -> str:
    """Return the table as Markdown; the router that Loupe ships is bold."""
    heads = ["router", "view", *HEADINGS.values(), "fit s", "us/query"]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "--:|" * (len(heads) - 2)]
    for row in ranked(found, table):
        name = f"**{row.router}**" if row.is_default else row.router
        lines.append("| " + " | ".join([name, row.view, *(shown(row, n) for n in HEADINGS), *times(row)]) + " |")
    return "\n".join(lines)


def as_json(found: Iterable[Row]) -> list[dict[str, Any]]:
    """Return the rows as JSON objects; a number that is not finite is null, and `note` says why."""
    return [_object(row) for row in found]


def shown(row: Row, name: str) -> str:
    """Return one figure as a cell of a table: its mean, and its interval or spread."""
    figure = row.figures[name]
    if math.isnan(figure.mean):
        return "-"
    if math.isinf(figure.mean):
        return f"inf ({row.reached:.0%}: {row.qnc_where_reached:.3f})" if row.reached else "never"
    if name == "nauc" and math.isfinite(figure.low):
        return f"{figure.mean:.3f} [{figure.low:.3f}..{figure.high:.3f}]"
    return f"{figure.mean:.3f}" if math.isnan(figure.spread) else f"{figure.mean:.3f} ± {figure.spread:.3f}"


def times(row: Row) -> list[str]:
    """Return seconds per fit and microseconds per query, as two cells."""
    timed = ((row.fit_s, 2), (row.predict_us, 1))
    return [f"{value:.{digits}f}" if math.isfinite(value) else "-" for value, digits in timed]


def notes(row: Row) -> list[str]:
    """Return the reasons why figures of the row are missing."""
    found = [row.problem] if row.problem else []
    if row.reached < 1 and not row.problem:
        found.append(f"qnc: infinite, the best single is not reached in {1 - row.reached:.0%} of the seeds")
        found[-1] += f" ({row.qnc_where_reached:.3f} in the others)" if row.reached else ""
    if not row.problem:
        missing = [name for name in HEADINGS if math.isnan(row.figures[name].mean)]
        found += [f"{', '.join(missing)}: no meaning for this policy"] if missing else []
    return found


def finite(value: float) -> float | None:
    """Return the rounded value, or None for infinity and NaN, which JSON does not have."""
    return round(value, 6) if math.isfinite(value) else None


def _row(block: Stage, of_seeds: Sequence[PolicyResult]) -> Row:
    first = of_seeds[0]
    figures = {}
    for place, name in enumerate(FIGURES):
        mean, spread = mean_and_spread([astuple(judged.judgement)[place] for judged in of_seeds])
        over_seeds = np.mean([judged.replicates[:, place] for judged in of_seeds], axis=0)
        figures[name] = Figure(mean, spread, *interval(over_seeds))
    reached = [judged.judgement.qnc for judged in of_seeds if math.isfinite(judged.judgement.qnc)]
    return Row(
        protocol=first.protocol,
        table=block.name,
        learned_from=block.learned_from,
        router=first.policy,
        view=first.task.view,
        figures=figures,
        reached=len(reached) / len(of_seeds),
        qnc_where_reached=float(np.mean(reached)) if reached else math.nan,
        curve=np.mean([judged.curve for judged in of_seeds], axis=0),
        fit_s=float(np.mean([judged.fit_s for judged in of_seeds])),
        predict_us=float(np.mean([judged.predict_us for judged in of_seeds])),
        problem=next((judged.problem for judged in of_seeds if judged.problem), ""),
    )


def _object(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {
        "table": row.table,
        "learned_from": list(row.learned_from),
        "router": row.router,
        "view": row.view,
    }
    for name in FIGURES:
        figure, shown = row.figures[name], _JSON_NAMES.get(name, name)
        found[shown] = finite(figure.mean)
        found[f"{shown}_std"] = finite(figure.spread)
        found[f"{shown}_ci"] = [finite(figure.low), finite(figure.high)]
    return found | {
        "qnc_reached": finite(row.reached),
        "qnc_where_reached": finite(row.qnc_where_reached),
        "fit_s": finite(row.fit_s),
        "predict_us_per_query": finite(row.predict_us),
        "default": row.is_default,
        "note": "; ".join(notes(row)) or None,
    }


def _or_least(value: float) -> float:
    return -math.inf if math.isnan(value) else value
