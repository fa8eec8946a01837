"""What commands that learn from outcome tables start with: the tables, an encoder, and the views of the queries."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gateway.errors import ConfigError
from gateway.outcomes.embeddings import Embeddings
from gateway.outcomes.image_facts import with_image_facts
from models.base import EncodeError
from models.dual_encoder import DualEncoder
from models.pulled import locate
from routers.table.formats import read_table
from routers.table.outcome_table import Dataset, OutcomeTable
from routers.table.parquet import read_embedded


def read_tables(paths: Sequence[Path], images: Path | None) -> dict[str, OutcomeTable]:
    """File stem -> table. Raises ConfigError: two of one name, or one without queries; TableError, OSError."""
    parts: dict[str, OutcomeTable] = {}
    for path in paths:
        if path.stem in parts:
            raise ConfigError(f"two tables are called {path.stem!r}")
        parts[path.stem] = read_table(path, images)
        if not len(parts[path.stem]):
            raise ConfigError(f"{path}: a table without queries teaches nothing")
    return parts


def read_datasets(paths: Sequence[Path], images: Path | None, encoder: DualEncoder, kept: Path | None) -> list[Dataset]:
    """Tables with the hashes of their images, and their views: those that a table holds of this encoder, else encoded.

    Raises ConfigError, TableError and OSError.
    """
    found = []
    for name, table in read_tables(paths, images).items():
        path = next(path for path in paths if path.stem == name)
        held = read_embedded(path) if path.is_dir() else None
        views = held.views if held is not None and held.encoder_digest == encoder.digest else None
        table, _ = with_image_facts(table, lambda _done, _total: None)
        found.append(Dataset(name, table, views or embed(table, encoder, kept), frozenset(encoder.image_dims)))
    return found


def load_encoder(name: str) -> DualEncoder:
    """The encoder of a name, bundled or pulled, or of a bundle's folder. Raises ConfigError."""
    try:
        return DualEncoder.load(locate(name))
    except EncodeError as error:
        raise ConfigError(f"encoder {name!r}: {error}") from error


def embed(table: OutcomeTable, encoder: DualEncoder, kept: Path | None) -> Mapping[str, np.ndarray]:
    """The views of a table's queries; `kept` is a file of vectors to start from and to leave them in."""
    embeddings = Embeddings(encoder)
    if kept is not None and kept.exists():
        embeddings.load(kept)
    views = embeddings.views(table, _say_progress)
    if kept is not None:
        embeddings.save(kept)
    return views


def rows_of(part: OutcomeTable, table: OutcomeTable) -> np.ndarray:
    """Where the queries of a part stand in the table that it was merged into."""
    place = {query_id: row for row, query_id in enumerate(table.query_ids)}
    return np.array([place[query_id] for query_id in part.query_ids], dtype=np.intp)


def _say_progress(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty() or done == total:
        print(f"\rencoding {what}: {done} of {total}", end="\n" if done == total else "", file=sys.stderr)
