"""Rows of the encoder benchmark, and the section of the page that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One timed task: the median, the least and the greatest value over the rounds, and the unit."""

    part: str
    subject: str
    what: str
    unit: str
    median: float
    least: float
    greatest: float


def row(names: tuple[str, str, str], unit: str, values: Sequence[float]) -> Row:
    """Return the row of (part, subject, what), given one value per round."""
    return Row(*names, unit, median(values), min(values), max(values))


def markdown(facts: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Return the report as Markdown: the facts about the run, and a table of each part."""
    lines = [f"* {name}: {value}" for name, value in facts.items()]
    for part in dict.fromkeys(row.part for row in rows):
        lines += ["", f"**{part}**", "", *_table([row for row in rows if row.part == part])]
    return "\n".join([*lines, "", "Median over the rounds [least..greatest]."]) + "\n"


def _table(rows: Sequence[Row]) -> list[str]:
    """Return a table as lines of Markdown, with a row per subject and a column per timed task."""
    columns = list(dict.fromkeys((row.what, row.unit) for row in rows))
    cells = {(row.subject, row.what): row for row in rows}
    heads = " | ".join(f"{what}, {unit}" for what, unit in columns)
    lines = [f"| | {heads} |", "|---|" + "--:|" * len(columns)]
    for subject in dict.fromkeys(row.subject for row in rows):
        found = [cells.get((subject, what)) for what, _ in columns]
        lines.append(f"| {subject} | " + " | ".join("" if cell is None else _shown(cell) for cell in found) + " |")
    return lines


def _shown(cell: Row) -> str:
    digits = 0 if cell.median >= 100 else 1 if cell.median >= 10 else 2
    return f"{cell.median:,.{digits}f} [{cell.least:,.{digits}f}..{cell.greatest:,.{digits}f}]"
