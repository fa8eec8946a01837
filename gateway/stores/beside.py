"""The file beside the ledger's: what is no money but must outlive a restart. SQLite has one writer a file, and a
reservation must not wait for these.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.stores.base import StoreError
from gateway.stores.sqlite_file import opened

PATIENCE_S = 5.0


def beside(store: Path) -> Path:
    """For a gateway whose `store.path` is `loupe.sqlite`: `loupe-spend.sqlite`."""
    return store.with_name(f"{store.stem}-spend{store.suffix}")


@contextmanager
def transaction(path: Path, schema: str) -> Iterator[sqlite3.Connection]:
    """A connection for one transaction, on a file that has `schema` (one statement). Blocking. Raises StoreError."""
    try:
        db = opened(path, PATIENCE_S)
        try:
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(schema)
            db.execute("BEGIN")
            with db:
                yield db
        finally:
            db.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
