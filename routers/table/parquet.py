"""An outcome table on disk: two Parquet files in one folder.

`cells.parquet`: one row per observed cell (query_id, candidate, score, input_tokens, output_tokens, cost_usd,
latency_s, weight, source); a missing cell has no row, a missing number is null.
`queries.parquet`: one row per query (id, group, text, image_path, image_sha256, image_width, image_height, further
columns as `detail/<name>`, and `embedding/<view>` in half precision where the table was embedded).
The metadata of both files holds what rows cannot hold: the order of candidates, the notes, and the table's digest,
which shows that both files belong to one table. Files from other programs need only query_id, candidate and score in
the first file, and id and text in the second.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from routers.base import Views
from routers.table.arrow_columns import arrow, coded_names, numbers, read_parquet_file, texts
from routers.table.mmr_csv import relative_names
from routers.table.outcome_table import FURTHER, OutcomeTable, Rows, TableError
from routers.table.wide_csv import whole_file

if TYPE_CHECKING:
    import pyarrow

FORMAT = 1
CELLS, QUERIES = "cells.parquet", "queries.parquet"

_NUMBERS = ("score", "input_tokens", "output_tokens", "cost_usd", "latency_s", "weight")
_IMAGE_FACTS = ("image_sha256", "image_width", "image_height")
_DETAIL, _EMBEDDING, _METADATA = "detail/", "embedding/", b"loupe"

Places = tuple[Rows, Rows]
"""The row and the column of each cell."""


@dataclass(frozen=True, slots=True, eq=False)
class TableVectors:
    """Views of a table's queries, and the digest of the encoder that produced the views."""

    encoder_digest: str
    views: Views = field(default_factory=dict)


def write_parquet(table: OutcomeTable, folder: Path | str, embedded: TableVectors | None = None) -> None:
    """Write a table so that `read_parquet` reads the same table; image paths are relative to the folder.

    Views are rounded to half precision. Raises TableError for views of another length and for text that is not valid
    UTF-8, and OSError.
    """
    folder = Path(folder)
    header = {
        "format": FORMAT,
        "digest": table.digest,
        "candidates": table.candidates,
        "arrays": list(table.arrays()),
        "details": list(table.details),
        "notes": dict(table.notes),
        "encoder_digest": embedded.encoder_digest if embedded is not None else None,
    }
    metadata = {_METADATA: json.dumps(header).encode()}
    try:
        cells, queries = _cells(table), _queries(table, folder, embedded)
    except UnicodeEncodeError as error:
        raise TableError(
            f"{folder.name}: {error.object[max(error.start - 20, 0) : error.end]!r} is not text in UTF-8"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / CELLS) as cells_path, whole_file(folder / QUERIES) as queries_path:
        for columns, path in ((cells, cells_path), (queries, queries_path)):
            arrow().parquet.write_table(columns.replace_schema_metadata(metadata), path, compression="zstd")


def read_parquet(folder: Path | str, images: Path | str | None = None) -> OutcomeTable:
    """Read a folder. Image paths are relative to `images`, by default the folder itself.

    Raises TableError, which says file, row and column, and OSError.
    """
    folder = Path(folder)
    cells, queries = read_parquet_file(folder / CELLS), read_parquet_file(folder / QUERIES)
    header = _common_header(folder, cells, queries)
    codes, distinct = coded_names(queries, "id", QUERIES)
    query_ids = tuple(distinct[code] for code in codes)
    codes, distinct = coded_names(queries, "text", QUERIES)
    questions = tuple(distinct[code] for code in codes)
    candidate_codes, named = coded_names(cells, "candidate", CELLS)
    candidates = tuple(header.get("candidates", named))
    places = (
        _places(*coded_names(cells, "query_id", CELLS), query_ids, "query_id"),
        _places(candidate_codes, named, candidates, "candidate"),
    )
    _refuse_repeated(places, query_ids, candidates)
    root = folder if images is None else Path(images)
    paths = texts(queries, "image_path")
    fallback = tuple(path or question for path, question in zip(paths, questions, strict=True))
    try:
        return OutcomeTable(
            query_ids=query_ids,
            groups=texts(queries, "group") if "group" in queries.column_names else fallback,
            questions=questions,
            image_paths=tuple(root / path if path else None for path in paths),
            candidates=candidates,
            details=_read_details(queries, header),
            notes=dict(header.get("notes", {})),
            **_read_arrays(cells, header, places, (len(query_ids), len(candidates))),
        )
    except TableError as error:
        raise TableError(f"{folder.name}: {error}") from None


def read_embedded(folder: Path | str) -> TableVectors | None:
    """Return the views of its queries that a folder holds, [n, d] each; None if the table was not embedded."""
    queries = read_parquet_file(Path(folder) / QUERIES)
    digest = _header(queries, QUERIES).get("encoder_digest")
    if digest is None:
        return None
    views = {}
    for name in queries.column_names:
        if name.startswith(_EMBEDDING):
            column = queries.column(name).combine_chunks()
            values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
            views[name.removeprefix(_EMBEDDING)] = values.reshape(len(column), column.type.list_size)
    return TableVectors(encoder_digest=str(digest), views=views)


def is_table_folder(folder: Path) -> bool:
    """Return whether the folder holds both files of a table."""
    return (folder / CELLS).is_file() and (folder / QUERIES).is_file()


def _cells(table: OutcomeTable) -> pyarrow.Table:
    pa = arrow()
    known = dict(table.numbers())
    seen = np.zeros(table.score.shape, dtype=np.bool_) if table.source is None else table.source != ""
    for values in known.values():
        seen = seen | ~np.isnan(values)
    rows, columns = np.nonzero(seen)
    arrays = {
        "query_id": pa.DictionaryArray.from_arrays(rows.astype(np.int32), pa.array(table.query_ids, pa.string())),
        "candidate": pa.DictionaryArray.from_arrays(columns.astype(np.int32), pa.array(table.candidates, pa.string())),
    }
    for name in _NUMBERS:
        flat = known[name][rows, columns] if name in known else np.full(len(rows), np.nan)
        arrays[name] = pa.array(flat, pa.float64(), from_pandas=True)  # NaN becomes null
    sources = np.full(len(rows), "") if table.source is None else table.source[rows, columns]
    arrays["source"] = pa.array([source or None for source in sources.tolist()], pa.string()).dictionary_encode()
    return pa.table(arrays)


def _queries(table: OutcomeTable, folder: Path, embedded: TableVectors | None) -> pyarrow.Table:
    pa = arrow()
    columns = {
        "id": pa.array(table.query_ids, pa.string()),
        "group": pa.array(table.groups, pa.string()),
        "text": pa.array(table.questions, pa.string()),
        "image_path": pa.array([name or None for name in relative_names(table.image_paths, folder)], pa.string()),
    }
    for name in _IMAGE_FACTS:
        facts = table.details.get(name, ("",) * len(table))
        if name == "image_sha256":
            columns[name] = pa.array([fact or None for fact in facts], pa.string())
        elif all(_is_size(fact) for fact in facts):
            columns[name] = pa.array([int(fact) if fact else None for fact in facts], pa.int32())
        else:  # a size in another program's notation is kept as text
            columns[_DETAIL + name] = pa.array(facts, pa.string())
    for name, column in table.details.items():
        if name not in _IMAGE_FACTS:
            columns[_DETAIL + name] = pa.array(column, pa.string())
    for name, values in (embedded.views if embedded is not None else {}).items():
        if len(values) != len(table):
            raise TableError(f"view {name!r} has {len(values)} rows for {len(table)} queries")
        flat = pa.array(np.asarray(values, dtype=np.float16).ravel())
        columns[_EMBEDDING + name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return pa.table(columns)


def _is_size(text: str) -> bool:
    """Return whether the text is empty, or an integer in the form in which it will be read back."""
    return not text or (text.isascii() and text.isdecimal() and len(text) < 10 and str(int(text)) == text)


def _common_header(folder: Path, cells: pyarrow.Table, queries: pyarrow.Table) -> Mapping[str, Any]:
    header, other = _header(cells, CELLS), _header(queries, QUERIES)
    if header.get("digest") != other.get("digest"):
        raise TableError(f"{folder.name}: {CELLS} and {QUERIES} are of two different tables")
    return header


def _header(columns: pyarrow.Table, file: str) -> Mapping[str, Any]:
    """Return the metadata that `write_parquet` wrote; empty for a file from another program."""
    written = (columns.schema.metadata or {}).get(_METADATA)
    if written is None:
        return {}
    try:
        header: dict[str, Any] = json.loads(written)
    except ValueError as error:
        raise TableError(f"{file}: its metadata is not what we wrote: {error}") from error
    if header.get("format") != FORMAT:
        raise TableError(f"{file} is of format {header.get('format')!r}; this version reads {FORMAT}")
    return header


def _places(codes: Rows, named: tuple[str, ...], known: tuple[str, ...], column: str) -> Rows:
    """Return [cells] the index of each cell's name in `known`. Raises TableError for a name that is not known."""
    place_of = {name: place for place, name in enumerate(known)}
    places = np.array([place_of.get(name, -1) for name in named], dtype=np.intp)
    found = places[codes] if len(codes) else np.array([], dtype=np.intp)
    unknown = np.flatnonzero(found < 0)
    if len(unknown):
        row = int(unknown[0])
        raise TableError(f"{CELLS}: row {row + 1}, column {column!r}: {named[codes[row]]!r} is not known")
    return found


def _refuse_repeated(places: Places, query_ids: tuple[str, ...], candidates: tuple[str, ...]) -> None:
    cells = places[0] * len(candidates) + places[1]
    _, first = np.unique(cells, return_index=True)
    if len(first) < len(cells):
        repeated = int(np.setdiff1d(np.arange(len(cells)), first)[0])
        query, candidate = query_ids[places[0][repeated]], candidates[places[1][repeated]]
        raise TableError(f"{CELLS}: row {repeated + 1}: a second cell of {candidate!r} for query {query!r}")


def _read_arrays(
    cells: pyarrow.Table, header: Mapping[str, Any], places: Places, shape: tuple[int, int]
) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for name in _NUMBERS:
        flat = numbers(cells, name, CELLS)
        is_there = name in header["arrays"] if "arrays" in header else bool((~np.isnan(flat)).any())
        if name not in FURTHER or is_there:
            arrays[name] = np.full(shape, np.nan)
            arrays[name][places] = flat
    sources = np.array(texts(cells, "source"), dtype=np.str_)
    if "source" in header["arrays"] if "arrays" in header else bool((sources != "").any()):
        arrays["source"] = np.full(shape, "", dtype=sources.dtype)
        arrays["source"][places] = sources
    return arrays


def _read_details(queries: pyarrow.Table, header: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    found = [name.removeprefix(_DETAIL) for name in queries.column_names if name.startswith(_DETAIL)]
    found += [name for name in _IMAGE_FACTS if any(texts(queries, name))]
    return {
        name: texts(queries, _DETAIL + name if _DETAIL + name in queries.column_names else name)
        for name in header.get("details", found)
    }
