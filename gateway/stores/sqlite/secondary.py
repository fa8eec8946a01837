"""The embedded store's second file: pacing and spend reports, which must survive a restart but are not money.

SQLite allows one writer per file, and a reservation must not wait for these writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import StoreError
from gateway.stores.sqlite.file import opened
from gateway.stores.sqlite.schema import SchemaError
from gateway.stores.sqlite.tables import SECONDARY

PATIENCE_S = 5.0


def secondary_path(store: Path) -> Path:
    """Return the second file's path: `loupe-spend.sqlite` if `store.path` is `loupe.sqlite`."""
    return store.with_name(f"{store.stem}-spend{store.suffix}")


def check_secondary(path: Path) -> None:
    """Migrate the file if it exists. Raises SchemaError. Any other error may pass before the file is needed."""
    if not path.is_file():
        return
    try:
        with transaction(path):
            pass
    except SchemaError:
        raise
    except StoreError:
        return


@contextmanager
def transaction(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection for one transaction on a file with the tables of `SECONDARY`. Blocking. Raises StoreError."""
    try:
        db = opened(path, SECONDARY, PATIENCE_S)
        try:
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("BEGIN")
            with db:
                yield db
        finally:
            db.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
