"""MMR-Bench's wide CSV: one row a query, `<M>_correct`, `<M>_token`, `<M>_cost` per candidate."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from routers.base import Floats
from routers.table import OutcomeTable, TableError

REQUIRED = ("dataset_idx", "question")
"""Columns that every file has; `group`, `img_path` and others may be left out."""

SUFFIXES = {"score": "_correct", "output_tokens": "_token", "cost_usd": "_cost"}


def read_mmr_csv(path: Path | str, images: Path | str | None = None) -> OutcomeTable:
    """Read one file. Image paths are taken relative to `images`, by default the file's own folder.

    An empty cell (or `nan`) is missing. Without a `group` column the image's path is the group, else the
    question's text. Raises TableError, which says row and column, and OSError.
    """
    path = Path(path)
    header, lines = _read_lines(path)
    for name in REQUIRED:
        if name not in header:
            raise TableError(f"{path.name}: no column {name!r}; is this an MMR-Bench table?")
    cells = zip(*lines, strict=True) if lines else [()] * len(header)
    columns: dict[str, tuple[str, ...]] = dict(zip(header, cells, strict=True))
    candidates = tuple(name.removesuffix("_correct") for name in header if name.endswith("_correct"))
    if not candidates:
        raise TableError(f"{path.name}: no column ends in '_correct', so there is no candidate")
    arrays: dict[str, Any] = {
        name: _read_numbers(path.name, columns, [candidate + suffix for candidate in candidates], len(lines))
        for name, suffix in SUFFIXES.items()
    }
    image_names = columns.get("img_path", ("",) * len(lines))
    questions = columns["question"]
    fallback = tuple(image or question for image, question in zip(image_names, questions, strict=True))
    root = path.parent if images is None else Path(images)
    taken = {"dataset_idx", "question", "group", "img_path"}
    taken.update(candidate + suffix for candidate in candidates for suffix in SUFFIXES.values())
    try:
        return OutcomeTable(
            query_ids=columns["dataset_idx"],
            groups=columns.get("group", fallback),
            questions=questions,
            image_paths=tuple(root / name if name else None for name in image_names),
            candidates=candidates,
            details={name: column for name, column in columns.items() if name not in taken},
            **arrays,
        )
    except TableError as error:
        raise TableError(f"{path.name}: {error}") from None


def write_mmr_csv(table: OutcomeTable, path: Path | str) -> None:
    """Write a table so that `read_mmr_csv` reads the same back; image paths are relative to the file."""
    path = Path(path)
    numbers = dict(table.numbers())
    header = ["dataset_idx", "group", "question", "img_path", *table.details]
    columns: list[Sequence[str]] = [table.query_ids, table.groups, table.questions]
    columns.append([_relative(image, path.parent) for image in table.image_paths])
    columns.extend(table.details.values())
    for column, candidate in enumerate(table.candidates):
        for name, suffix in SUFFIXES.items():
            header.append(candidate + suffix)
            columns.append([_written(value) for value in numbers[name][:, column].tolist()])
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(zip(*columns, strict=True))


def _read_lines(path: Path) -> tuple[list[str], list[list[str]]]:
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
    return header, lines


def _read_numbers(file: str, columns: dict[str, tuple[str, ...]], names: list[str], rows: int) -> Floats:
    numbers = np.full((rows, len(names)), np.nan)
    for place, name in enumerate(names):
        cells = columns.get(name)
        if cells is None:
            continue
        try:
            numbers[:, place] = np.array([cell or "nan" for cell in cells], dtype=np.float64)
        except ValueError:
            raise _bad_number(file, name, cells) from None
    return numbers


def _bad_number(file: str, column: str, cells: Sequence[str]) -> TableError:
    for row, cell in enumerate(cells, start=1):
        try:
            float(cell or "nan")
        except ValueError:
            return TableError(f"{file}: row {row}, column {column!r}: {cell[:40]!r} is not a number")
    return TableError(f"{file}: column {column!r} holds something that is not a number")


def _written(value: float) -> str:
    if value != value:  # NaN: a missing cell is written as nothing
        return ""
    return str(int(value)) if value == int(value) else repr(value)


def _relative(image: Path | None, folder: Path) -> str:
    return "" if image is None else Path(os.path.relpath(image, folder)).as_posix()
