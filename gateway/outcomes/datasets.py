"""The inputs of commands that learn from outcome tables: the tables, an encoder, and the views of the queries."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gateway.errors import ConfigError
from gateway.images.header import HeaderIncomplete, NotAnImage, image_size
from gateway.outcomes.embeddings import Embeddings
from models.base import EncodeError
from models.dual_encoder import DualEncoder
from models.registry import locate
from routers.table.formats import read_table
from routers.table.outcome_table import Dataset, OutcomeTable
from routers.table.parquet import read_embedded


def read_tables(paths: Sequence[Path], images: Path | None) -> dict[str, OutcomeTable]:
    """Return the tables by file stem.

    Raises ConfigError for two files with one stem and for a table without queries; TableError and OSError.
    """
    parts: dict[str, OutcomeTable] = {}
    for path in paths:
        if path.stem in parts:
            raise ConfigError(f"two tables are called {path.stem!r}")
        parts[path.stem] = read_table(path, images)
        if not len(parts[path.stem]):
            raise ConfigError(f"{path}: a table without queries teaches nothing")
    return parts


def read_datasets(paths: Sequence[Path], images: Path | None, encoder: DualEncoder, kept: Path | None) -> list[Dataset]:
    """Read tables with the hashes of their images and their views: a table's own views of this encoder, else encoded
    now.

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
    """Return the encoder of a name, bundled or pulled, or of a bundle's folder. Raises ConfigError."""
    try:
        return DualEncoder.load(locate(name))
    except EncodeError as error:
        raise ConfigError(f"encoder {name!r}: {error}") from error


def embed(table: OutcomeTable, encoder: DualEncoder, kept: Path | None) -> Mapping[str, np.ndarray]:
    """Return the views of a table's queries; `kept` is a file of vectors to read from and to save to."""
    embeddings = Embeddings(encoder)
    if kept is not None and kept.exists():
        embeddings.load(kept)
    views = embeddings.views(table, _say_progress)
    if kept is not None:
        embeddings.save(kept)
    return views


def rows_of(part: OutcomeTable, table: OutcomeTable) -> np.ndarray:
    """Return the row numbers of a part's queries in the table that the part was merged into."""
    place = {query_id: row for row, query_id in enumerate(table.query_ids)}
    return np.array([place[query_id] for query_id in part.query_ids], dtype=np.intp)


def _say_progress(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty() or done == total:
        print(f"\rencoding {what}: {done} of {total}", end="\n" if done == total else "", file=sys.stderr)


Progress = Callable[[int, int], None]
"""A function that receives the number of read images and the number of all images."""


@dataclass(frozen=True, slots=True)
class _Facts:
    sha256: str = ""
    width: str = ""
    height: str = ""


_NONE = _Facts()


def with_image_facts(table: OutcomeTable, progress: Progress) -> tuple[OutcomeTable, int]:
    """Return the table with `image_sha256`, `image_width` and `image_height`, and the number of missing images.

    Sizes that the table itself states are kept, because a stored image may be smaller than the image that was asked
    about. A value that cannot be read stays empty.
    """
    paths = list(dict.fromkeys(path for path in table.image_paths if path is not None))
    facts: dict[Path, _Facts] = {}
    for done, path in enumerate(paths, start=1):
        facts[path] = _read(path)
        progress(done, len(paths))
    found = [_NONE if path is None else facts[path] for path in table.image_paths]
    details = dict(table.details)
    if any(fact.sha256 for fact in found) or "image_sha256" in details:
        known = details.get("image_sha256", ("",) * len(table))
        details["image_sha256"] = tuple(fact.sha256 or old for fact, old in zip(found, known, strict=True))
    if "image_width" not in details and "image_height" not in details and any(fact.width for fact in found):
        details["image_width"] = tuple(fact.width for fact in found)
        details["image_height"] = tuple(fact.height for fact in found)
    missing = sum(not facts[path].sha256 for path in paths)
    return replace(table, details=details), missing


def _read(path: Path) -> _Facts:
    try:
        content = path.read_bytes()
    except OSError:
        return _NONE
    digest = hashlib.sha256(content).hexdigest()
    try:
        header = image_size(content)
    except (NotAnImage, HeaderIncomplete):
        return _Facts(digest)
    return _Facts(digest, str(header.width), str(header.height))
