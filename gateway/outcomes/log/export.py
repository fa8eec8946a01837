"""Decision logs as an outcome table: one row per answered decision, with one cell, weighted by its propensity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateway.billing.money import NANODOLLARS
from gateway.outcomes.log.cells import Cell, LoggedQuery, Range, cells, queries
from gateway.outcomes.log.content import questions, write_pictures
from gateway.outcomes.log.rows import views_of
from gateway.outcomes.log.schema import content_path, decisions_path
from routers.table.grouping import first_alike
from routers.table.outcome_table import OutcomeTable
from routers.table.parquet import TableVectors

UNLABELLED, NOT_EMBEDDED = "unlabelled", "not_embedded"


@dataclass(frozen=True, slots=True)
class ExportFilter:
    """The decisions to export: labelled ones only, or `all`; labels of these sources; rows with an embedding only."""

    range: Range
    label_sources: tuple[str, ...] = ()
    all: bool = False
    embedded: bool = True


@dataclass(frozen=True, slots=True)
class LogExport:
    """A table of decisions. `counts` has the rows by `decided`, and the rows left out by reason."""

    table: OutcomeTable
    embedded: TableVectors | None
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _ExportRow:
    """A row to export; `store` is the store of its log."""

    cell: Cell
    query: LoggedQuery
    store: Path


def read_logs(stores: Sequence[Path], wanted: ExportFilter, folder: Path) -> LogExport:
    """Return the table of these gateways' logs (each a `store.path`, or the log itself).

    Kept images are written below `folder`. A row without an embedding by the most frequent encoder is left out, unless
    no row has one. Raises StoreError and OSError.
    """
    counts: Counter[str] = Counter()
    rows = [row for store in stores for row in _rows(store, wanted, counts)]
    embedded = None
    if wanted.embedded:
        rows, embedded = _embedded(rows, counts)
    for row in rows:
        counts[row.cell.decided] += 1
    return LogExport(_table(rows, folder, counts), embedded, dict(counts))


def _rows(store: Path, wanted: ExportFilter, counts: Counter[str]) -> list[_ExportRow]:
    path = decisions_path(store)
    if not path.is_file():  # `store` may be the log itself
        path, store = store, store.with_name(store.name.replace("-decisions", ""))
    found = []
    for cell in cells(path, wanted.range, wanted.label_sources):
        if cell.score is None:
            counts[UNLABELLED] += 1
            if not wanted.all:
                continue
        found.append(cell)
    known = {query.key: query for query in queries(path, list(dict.fromkeys(cell.query_key for cell in found)))}
    return [_ExportRow(cell, known[cell.query_key], store) for cell in found if cell.query_key in known]


def _embedded(rows: Sequence[_ExportRow], counts: Counter[str]) -> tuple[list[_ExportRow], TableVectors | None]:
    """Return the rows that the most frequent encoder has embedded, with their views."""
    by_encoder = Counter(row.query.encoder for row in rows if row.query.encoder is not None)
    if not by_encoder:
        return list(rows), None
    ((encoder, _),) = by_encoder.most_common(1)
    kept = [row for row in rows if row.query.encoder == encoder]
    counts[NOT_EMBEDDED] = len(rows) - len(kept)
    read = {row.query.key: views_of(row.query.views or "", row.query.embedding or b"") for row in kept}
    names = read[kept[0].query.key]
    views = {name: np.concatenate([read[row.query.key][name] for row in kept]) for name in names}
    return kept, TableVectors(str(encoder), views)


def _table(rows: Sequence[_ExportRow], folder: Path, counts: Mapping[str, int]) -> OutcomeTable:
    candidates = tuple(dict.fromkeys(name for row in rows for name in (*row.cell.candidates, row.cell.candidate)))
    texts, paths = _contents(rows, folder)
    alike = first_alike([_shared(row.query) for row in rows])
    first_images = [row.query.images[0] if row.query.images else None for row in rows]
    details = {
        "time": [repr(row.cell.started_at) for row in rows],
        "decided": [row.cell.decided for row in rows],
        "propensity": [_written(row.cell.propensity) for row in rows],
        "label_probability": [_written(row.cell.probability) for row in rows],
        "router": [row.cell.router_digest for row in rows],
        "image_sha256": [image.sha256 or "" if image else "" for image in first_images],
        "image_width": [str(image.width) if image else "" for image in first_images],
        "image_height": [str(image.height) if image else "" for image in first_images],
    }
    return OutcomeTable(
        query_ids=tuple(row.cell.request_id for row in rows),
        groups=tuple(rows[first].query.key.hex() for first in alike),
        questions=texts,
        image_paths=paths,
        candidates=candidates,
        details={name: tuple(column) for name, column in details.items()},
        notes={"decisions": ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))},
        **_arrays([row.cell for row in rows], candidates),
    )


def _arrays(found: Sequence[Cell], candidates: Sequence[str]) -> dict[str, Any]:
    column_of = {name: column for column, name in enumerate(candidates)}
    rows, columns = np.arange(len(found)), np.array([column_of[cell.candidate] for cell in found], dtype=np.intp)
    numbers = {
        "score": [cell.score for cell in found],
        "output_tokens": [cell.output_tokens for cell in found],
        "cost_usd": [cell.cost / NANODOLLARS for cell in found],
        "input_tokens": [cell.input_tokens for cell in found],
        "latency_s": [cell.total_ms / 1e3 for cell in found],
        "weight": [cell.weight for cell in found],
    }
    arrays: dict[str, Any] = {}
    for name, values in numbers.items():
        arrays[name] = np.full((len(found), len(candidates)), np.nan)
        arrays[name][rows, columns] = np.array(values, dtype=np.float64)  # None becomes NaN
    width = max((len(cell.source) for cell in found), default=1) or 1
    arrays["source"] = np.full((len(found), len(candidates)), "", dtype=f"<U{width}")
    arrays["source"][rows, columns] = [cell.source for cell in found]
    return arrays


def _shared(query: LoggedQuery) -> list[str]:
    """Return what keeps rows on the same side of a split: the content, and each image."""
    hashes = [f"image {one}" for image in query.images for one in (image.key, image.sha256) if one]
    return [query.key.hex(), *hashes]


def _contents(rows: Sequence[_ExportRow], folder: Path) -> tuple[tuple[str, ...], tuple[Path | None, ...]]:
    """Return texts and image files, if content was kept; empty values otherwise."""
    texts: dict[tuple[Path, str, bytes], str] = {}
    files: dict[tuple[Path, str, str], Path] = {}
    for store in dict.fromkeys(row.store for row in rows):
        path = content_path(store)
        if not path.is_file():
            continue
        own = [row for row in rows if row.store == store]
        asked = {(row.cell.tenant, row.query.key) for row in own}
        texts |= {(store, *key): text for key, text in questions(path, asked).items()}
        seen = {(row.cell.tenant, row.query.images[0].sha256 or "") for row in own if row.query.images}
        files |= {(store, *key): file for key, file in write_pictures(path, seen, folder / "images").items()}
    return (
        tuple(texts.get((row.store, row.cell.tenant, row.query.key), "") for row in rows),
        tuple(
            files.get((row.store, row.cell.tenant, row.query.images[0].sha256 or "")) if row.query.images else None
            for row in rows
        ),
    )


def _written(value: float | None) -> str:
    return "" if value is None else repr(value)


def summary(counts: Mapping[str, int]) -> list[str]:
    """Return a line about each kind of decision that was exported or left out."""
    meanings = {
        "drawn": "drawn: weighted by 1 / (propensity x label probability)",
        "determined": "determined: the best, with nothing to draw from; weighted by 1 / label probability",
        "pinned": "pinned by the client: no weight",
        "failed_over": "failed over to another choice: no weight",
        "declined": "routing declined, no propensity: no weight",
        UNLABELLED: "answered without a label",
        NOT_EMBEDDED: "left out, because they have no embedding by the encoder that most have",
    }
    return [f"{counts[name]:>9,}  {text}" for name, text in meanings.items() if counts.get(name)]
