"""MMR-Bench's wide CSV: one row per query, and `<M>_correct`, `<M>_token`, `<M>_cost` per candidate.

`<M>_prompt_token`, `<M>_latency`, `<M>_weight` and `<M>_source` are Loupe's own columns. They are optional.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from routers.table.outcome_table import OutcomeTable, TableError
from routers.table.wide_csv import Columns, names_in, numbers_in, read_columns, write_columns, written

REQUIRED = ("dataset_idx", "question")
"""Columns that every file must have; `group`, `img_path` and others may be missing."""

SUFFIXES = {"score": "_correct", "output_tokens": "_token", "cost_usd": "_cost"}
FURTHER_SUFFIXES = {
    "input_tokens": "_prompt_token",
    "latency_s": "_latency",
    "weight": "_weight",
    "source": "_source",
}

IMAGE_FOLDERS = {"SEEDBench2_Plus": "SEEDBenchv2Plus"}
"""The first part of a `dataset_idx` -> the folder of its images, where the two names differ."""

_IMAGE_ENDINGS = (".jpg", ".png", ".jpeg", ".webp")


def read_mmr_csv(path: Path | str, images: Path | str | None = None) -> OutcomeTable:
    """Read one file. Image paths are relative to `images`, by default the file's own folder.

    An empty cell (or `nan`) is missing. Without a `group` column, the group is the image's path or, without image, the
    question's text. A file without any image path is taken to be MMR-Bench's own: `MathVista_12` has its image at
    `MathVista/12.jpg` (or `images/MathVista/12.jpg`), if that file exists. Raises TableError, which says row and
    column, and OSError.
    """
    path = Path(path)
    columns = read_columns(path)
    for name in REQUIRED:
        if name not in columns:
            raise TableError(f"{path.name}: no column {name!r}; is this an MMR-Bench table?")
    candidates = tuple(name.removesuffix("_correct") for name in columns if name.endswith("_correct"))
    if not candidates:
        raise TableError(f"{path.name}: no column ends in '_correct', so the table has no candidates")
    taken = {"dataset_idx", "question", "group", "img_path"}
    arrays = _read_arrays(path.name, columns, candidates, taken)
    ids, questions = columns["dataset_idx"], columns["question"]
    image_names = columns.get("img_path", ("",) * len(ids))
    root = path.parent if images is None else Path(images)
    fallback = tuple(image or question for image, question in zip(image_names, questions, strict=True))
    try:
        return OutcomeTable(
            query_ids=ids,
            groups=columns.get("group", fallback),
            questions=questions,
            image_paths=tuple(root / name if name else None for name in image_names)
            if any(image_names)
            else _images_by_id(ids, root),
            candidates=candidates,
            details={name: column for name, column in columns.items() if name not in taken},
            **arrays,
        )
    except TableError as error:
        raise TableError(f"{path.name}: {error}") from None


def write_mmr_csv(table: OutcomeTable, path: Path | str) -> None:
    """Write a table so that `read_mmr_csv` reads the same table, without `notes`; image paths are relative to the file.

    Raises TableError where two columns would have one name, and OSError.
    """
    path = Path(path)
    columns: list[tuple[str, Sequence[str]]] = [
        ("dataset_idx", table.query_ids),
        ("group", table.groups),
        ("question", table.questions),
        ("img_path", relative_names(table.image_paths, path.parent)),
        *table.details.items(),
    ]
    for column, candidate in enumerate(table.candidates):
        for name, values in table.arrays().items():
            cells = values[:, column]
            suffix = (SUFFIXES | FURTHER_SUFFIXES)[name]
            columns.append((candidate + suffix, cells.tolist() if name == "source" else written(cells)))
    write_columns(path, columns)


def _read_arrays(file: str, columns: Columns, candidates: Sequence[str], taken: set[str]) -> dict[str, Any]:
    """Return every array that the file has, and add the columns that the arrays are read from to `taken`."""
    rows = len(columns["dataset_idx"])
    arrays: dict[str, Any] = {}
    for name, suffix in (SUFFIXES | FURTHER_SUFFIXES).items():
        # If there is a candidate `a_prompt`, `a_prompt_token` is its output, not the input of candidate `a`.
        names = [candidate + suffix for candidate in candidates]
        own = {column: columns[column] for column in names if column in columns and column not in taken}
        taken.update(own)
        if name == "source" and own:
            arrays[name] = names_in(own, names, rows)
        elif name in SUFFIXES or own:
            arrays[name] = numbers_in(file, own, names, rows)
    return arrays


def _images_by_id(ids: Sequence[str], root: Path) -> tuple[Path | None, ...]:
    """Return the image files by MMR-Bench's naming rule; every folder is listed only once."""
    folders: dict[str, dict[str, Path]] = {}
    paths: list[Path | None] = []
    for query_id in ids:
        dataset, _, number = query_id.rpartition("_")
        if dataset not in folders:
            name = IMAGE_FOLDERS.get(dataset, dataset)
            is_plain = name not in ("", "..") and Path(name).name == name
            folders[dataset] = _listed(root / name) or _listed(root / "images" / name) if is_plain else {}
        files = folders[dataset]
        paths.append(next((files[number + end] for end in _IMAGE_ENDINGS if number + end in files), None))
    return tuple(paths)


def _listed(folder: Path) -> dict[str, Path]:
    try:
        return {path.name: path for path in folder.iterdir()}
    except (OSError, ValueError):  # no such folder, or an id that no path can hold
        return {}


def relative_names(paths: Sequence[Path | None], folder: Path) -> list[str]:
    """Return each path relative to a folder, empty for None.

    Each parent folder is computed only once, because tables have many images in few folders.
    """
    beginnings: dict[str, str] = {}
    names = []
    for path in paths:
        if path is None:
            names.append("")
            continue
        parent, name = os.path.split(os.fspath(path))
        if parent not in beginnings:
            beginnings[parent] = PurePath(os.path.relpath(parent or ".", folder)).as_posix()
        beginning = beginnings[parent]
        names.append(name if beginning == "." else f"{beginning}/{name}")
    return names
