"""The loop demo's outcome table, divided by groups: queries to start from, to ask, and to judge on.

Rule: a whole group is in one part, so that no router is judged on an image that any router learned from.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CORRECT, TOKENS, COST = "_correct", "_token", "_cost"
_LARGEST_FIELD = 16_000_000

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LoopTable:
    """The rows of MMR-Bench's CSV, in parts. Image paths are relative to `images`."""

    name: str
    images: Path
    candidates: tuple[str, ...]
    start: tuple[Row, ...]
    asked: tuple[Row, ...]
    held_out: tuple[Row, ...]

    @property
    def rows(self) -> int:
        """The number of rows of all parts together."""
        return len(self.start) + len(self.asked) + len(self.held_out)


@dataclass(frozen=True, slots=True)
class TablePrice:
    """A price in USD per million tokens, such that a request costs about what the table says."""

    input: float
    output: float


def part(path: Path, *, start: int, held_out: float, seed: int) -> LoopTable:
    """Read a table and divide it at random: `held_out` is a share of the groups, `start` a number of queries."""
    csv.field_size_limit(_LARGEST_FIELD)
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows: list[Row] = list(csv.DictReader(file))
    candidates = tuple(name.removesuffix(CORRECT) for name in rows[0] if name.endswith(CORRECT))
    names = sorted({group_of(row) for row in rows})
    generator = np.random.default_rng(seed)
    order = [names[place] for place in generator.permutation(len(names))]
    judged = set(order[: round(held_out * len(order))])
    others = [row for row in rows if group_of(row) not in judged]
    others = [others[place] for place in generator.permutation(len(others))]
    first = {group_of(row) for row in others[:start]}
    return LoopTable(
        name=path.stem,
        images=path.parent,
        candidates=candidates,
        start=tuple(others[:start]),
        asked=tuple(row for row in others[start:] if group_of(row) not in first),
        held_out=tuple(row for row in rows if group_of(row) in judged),
    )


def group_of(row: Row) -> str:
    """Return the row's group, else its image, else its question."""
    return row.get("group") or row.get("img_path") or row["question"]


def write(rows: Sequence[Row], path: Path) -> Path:
    """Write rows as a CSV with the same columns."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def shuffled(rows: Sequence[Row], seed: int) -> list[Row]:
    """Return the rows with all labels exchanged at random, over queries and candidates, so that labels carry no
    information.
    """
    places = [(number, name) for number, row in enumerate(rows) for name in row if name.endswith(CORRECT) and row[name]]
    order = np.random.default_rng(seed).permutation(len(places)).tolist()
    found = [dict(row) for row in rows]
    for (number, name), drawn in zip(places, order, strict=True):
        other, column = places[drawn]
        found[number][name] = rows[other][column]
    return list(found)


def prices(table: LoopTable, input_tokens: float) -> dict[str, TablePrice]:
    """Return each candidate's price, for requests of `input_tokens` input tokens on average.

    Costs are fitted as a straight line over output tokens; the cost at zero output tokens is the input's.
    """
    found = {}
    for name in table.candidates:
        cells = [(row[name + TOKENS], row[name + COST]) for row in table.asked if row.get(name + CORRECT)]
        tokens, costs = np.array([(float(token), float(cost)) for token, cost in cells]).T
        slope, left = np.polyfit(tokens, costs, 1)
        found[name] = TablePrice(max(float(left), 0.0) / input_tokens * 1e6, max(float(slope), 0.0) * 1e6)
    return found
