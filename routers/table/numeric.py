"""Outcome tables in numbers only: ids, groups, scores, tokens, costs and the encoder's views, without text or image.

`loupe bench` judges on the bundled table when it is given no table. Each distinct row of a view is stored once, with
one byte per number and a scale per column. `offline.json` holds the sha256 of `offline.npz`, which guards against
accidents but is not a signature. `NOTICE` in the same folder says what the table was made from, and the licences.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Views
from routers.table.outcome_table import Dataset, OutcomeTable

FORMAT = 1
NUMBERS, HEADER = "offline.npz", "offline.json"
BUNDLED = Path(__file__).resolve().parents[1] / "bundled" / "offline"

Arrays = dict[str, NDArray[Any]]


class OfflineError(Exception):
    """An offline table is missing, altered, cut short or of another format; the text says which file and why."""


@dataclass(frozen=True, slots=True, eq=False)
class Offline:
    """Data sets, and the encoder that produced their views."""

    datasets: tuple[Dataset, ...]
    encoder_name: str
    encoder_digest: str


def save_offline(offline: Offline, folder: Path) -> int:
    """Write data sets to a folder. Returns the number of bytes written. The same data give the same bytes."""
    arrays: Arrays = {}
    for name, values in _joined_views(offline.datasets).items():
        distinct, places = _distinct(values)
        arrays |= _coded(f"views/{name}", distinct)
        start = 0
        for data in offline.datasets:
            arrays[f"{data.name}/{name}"] = places[start : start + len(data.table)]
            start += len(data.table)
    for data in offline.datasets:
        arrays |= _cells(data)
    numbers = io.BytesIO()
    np.savez_compressed(numbers, allow_pickle=False, **dict(sorted(arrays.items())))
    header = {
        "format": FORMAT,
        "tables": [data.name for data in offline.datasets],
        "table_sha256": {data.name: data.table.digest for data in offline.datasets},
        "views": {name: name in offline.datasets[0].image_views for name in sorted(offline.datasets[0].views)},
        "encoder": {"name": offline.encoder_name, "digest": offline.encoder_digest},
        "npz_sha256": hashlib.sha256(numbers.getvalue()).hexdigest(),
    }
    text = json.dumps(header, indent=1).encode() + b"\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NUMBERS).write_bytes(numbers.getvalue())
    (folder / HEADER).write_bytes(text)
    return len(numbers.getvalue()) + len(text)


def load_offline(folder: Path = BUNDLED) -> Offline:
    """Return the data sets that `save_offline` wrote. Raises OfflineError."""
    text, numbers = _read(folder / HEADER), _read(folder / NUMBERS)
    try:
        header = json.loads(text)
        if header["format"] != FORMAT:
            raise OfflineError(f"{folder / HEADER} is of format {header['format']!r}; this version reads {FORMAT}")
        if hashlib.sha256(numbers).hexdigest() != header["npz_sha256"]:
            raise OfflineError(
                f"{folder / NUMBERS} is not the file that {HEADER} describes: it was altered or cut short"
            )
        with np.load(io.BytesIO(numbers), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return Offline(
            datasets=tuple(_dataset(name, header["views"], arrays) for name in header["tables"]),
            encoder_name=header["encoder"]["name"],
            encoder_digest=header["encoder"]["digest"],
        )
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise OfflineError(f"{folder} is inconsistent: {type(error).__name__}: {error}") from error


def _joined_views(datasets: Sequence[Dataset]) -> Views:
    return {name: np.concatenate([data.views[name] for data in datasets]) for name in datasets[0].views}


def _distinct(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return the distinct rows in order of first appearance, and each row's index; -1 for a row of zeros (absent)."""
    known: dict[bytes, int] = {}
    first: list[int] = []
    places = np.full(len(rows), -1, dtype=np.int32)
    for number, row in enumerate(rows):
        if not row.any():
            continue
        key = row.tobytes()
        if key not in known:
            known[key] = len(first)
            first.append(number)
        places[number] = known[key]
    return rows[first], places


def _coded(name: str, rows: NDArray[np.float32]) -> Arrays:
    """Return rows coded as one byte per number; unsigned where no number is negative, which halves the step."""
    signed = bool((rows < 0).any())
    levels = 127 if signed else 255
    largest = np.abs(rows).max(axis=0, initial=0.0)
    scale = np.where(largest > 0, largest / levels, 1.0).astype(np.float32)
    codes = np.rint(rows / scale).clip(-levels, levels)
    return {f"{name}/codes": codes.astype(np.int8 if signed else np.uint8), f"{name}/scale": scale}


def _cells(data: Dataset) -> Arrays:
    arrays: Arrays = {
        f"{data.name}/query_ids": np.array(data.table.query_ids, dtype=np.str_),
        f"{data.name}/groups": np.array(data.table.groups, dtype=np.str_),
        f"{data.name}/candidates": np.array(data.table.candidates, dtype=np.str_),
    }
    for name in ("score", "output_tokens", "cost_usd"):
        arrays[f"{data.name}/{name}"] = getattr(data.table, name)
    return arrays


def _dataset(name: str, views: Mapping[str, bool], arrays: Arrays) -> Dataset:
    query_ids = tuple(arrays[f"{name}/query_ids"].tolist())
    table = OutcomeTable(
        query_ids=query_ids,
        groups=tuple(arrays[f"{name}/groups"].tolist()),
        questions=("",) * len(query_ids),
        image_paths=(None,) * len(query_ids),
        candidates=tuple(arrays[f"{name}/candidates"].tolist()),
        score=arrays[f"{name}/score"],
        output_tokens=arrays[f"{name}/output_tokens"],
        cost_usd=arrays[f"{name}/cost_usd"],
    )
    rows = {view: _decoded(arrays, view, arrays[f"{name}/{view}"]) for view in views}
    return Dataset(name, table, rows, frozenset(view for view, is_image in views.items() if is_image))


def _decoded(arrays: Arrays, view: str, places: NDArray[np.int32]) -> NDArray[np.float32]:
    codes, scale = arrays[f"views/{view}/codes"], arrays[f"views/{view}/scale"]
    rows = np.zeros((len(places), len(scale)), dtype=np.float32)
    present = places >= 0
    rows[present] = codes[places[present]] * scale
    return rows


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OfflineError(f"{path} cannot be read: {error.strerror or error}") from error
