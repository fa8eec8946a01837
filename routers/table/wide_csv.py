"""Wide CSV files: one row per query, some columns of text and some columns of numbers per candidate.

Every error is a TableError that says the file, the row (1 is the first below the header), the column and the value.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from routers.base import Floats
from routers.table.outcome_table import Names, TableError

CELL_CHARACTERS = 16_000_000
"""The longest cell that is read; some benchmarks have answers that are longer than the csv module's own limit."""

_WORDS = {"": float("nan"), "true": 1.0, "false": 0.0}
"""Words that are read as numbers; an empty cell is missing."""

Columns = Mapping[str, tuple[str, ...]]


def read_columns(path: Path) -> Columns:
    """Return the file's columns by name, as text, in the file's order. Raises TableError and OSError."""
    csv.field_size_limit(max(csv.field_size_limit(), CELL_CHARACTERS))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, None)
            lines = [line for line in reader if line]
    except (csv.Error, UnicodeDecodeError) as error:
        raise TableError(f"{path.name}: not a CSV file in UTF-8: {error}") from error
    if header is None:
        raise TableError(f"{path.name}: the file is empty")
    repeated = sorted(name for name in set(header) if header.count(name) > 1)
    if repeated:
        raise TableError(f"{path.name}: column {repeated[0]!r} appears twice")
    for number, line in enumerate(lines, start=1):
        if len(line) != len(header):
            raise TableError(f"{path.name}: row {number} has {len(line)} cells, the header {len(header)}")
    cells = zip(*lines, strict=True) if lines else [()] * len(header)
    return dict(zip(header, cells, strict=True))


def read_header(path: Path) -> list[str]:
    """Return only the names of the columns. Raises TableError and OSError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file, strict=True), [])
    except (csv.Error, UnicodeDecodeError) as error:
        raise TableError(f"{path.name}: not a CSV file in UTF-8: {error}") from error


def numbers_in(file: str, columns: Columns, names: Sequence[str], rows: int) -> Floats:
    """Return numbers [rows, len(names)]; a column that the file lacks, an empty cell and `nan` give NaN."""
    numbers = np.full((rows, len(names)), np.nan)
    for place, name in enumerate(names):
        cells = columns.get(name)
        if cells is None:
            continue
        try:
            numbers[:, place] = np.array([cell or "nan" for cell in cells], dtype=np.float64)
        except ValueError:
            numbers[:, place] = [_number(file, name, row, cell) for row, cell in enumerate(cells, start=1)]
    return numbers


def names_in(columns: Columns, names: Sequence[str], rows: int) -> Names:
    """Return texts [rows, len(names)]; a column that the file lacks is empty."""
    blank = ("",) * rows
    return np.array([columns.get(name, blank) for name in names], dtype=np.str_).reshape(len(names), rows).T


def write_columns(path: Path, columns: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Write named columns of equal length, either the whole file or nothing. Raises TableError and OSError."""
    header = [name for name, _ in columns]
    repeated = sorted(name for name in set(header) if header.count(name) > 1)
    if repeated:
        raise TableError(f"{path.name}: two columns would be called {repeated[0]!r}")
    try:
        with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(zip(*(cells for _, cells in columns), strict=True))
    except UnicodeEncodeError as error:
        raise TableError(
            f"{path.name}: {error.object[error.start - 20 : error.end]!r} is not text in UTF-8: {error}"
        ) from error


def written(values: Floats) -> list[str]:
    """Return numbers as the shortest texts that give the same bits when read; a missing number is empty."""
    return ["" if value != value else repr(value).removesuffix(".0") for value in values.tolist()]


def _number(file: str, column: str, row: int, cell: str) -> float:
    word = _WORDS.get(cell.strip().lower())
    if word is not None:
        return word
    try:
        return float(cell)
    except ValueError:
        raise TableError(f"{file}: row {row}, column {column!r}: {cell[:40]!r} is not a number") from None


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to.

    The written file is renamed to `path` when the block succeeds, and is removed when the block fails.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
