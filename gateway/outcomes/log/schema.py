"""The files of the log and their tables: decisions, queries and labels in one file, content in another.

They are in the ledger's folder, but in separate files: SQLite has one writer per file, and a reservation must not wait
for a log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import StoreError
from gateway.stores.sqlite.file import opened
from gateway.stores.sqlite.schema import Schema, refuse_newer

BUSY_S = 1.0
"""Seconds that a statement waits, in its thread, for another process's transaction; then it is tried again."""

DECISIONS = Schema(
    "decision log",
    (
        """
        CREATE TABLE IF NOT EXISTS decisions(
            request_id TEXT PRIMARY KEY, started_at REAL NOT NULL, tenant TEXT NOT NULL, candidate TEXT,
            reason TEXT NOT NULL, outcome TEXT NOT NULL, status INTEGER NOT NULL, error_code TEXT,
            finish_reason TEXT, streamed INTEGER NOT NULL, images INTEGER NOT NULL, prompt_bytes INTEGER NOT NULL,
            input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, metered INTEGER NOT NULL,
            expected_cost_nanousd INTEGER NOT NULL, held_nanousd INTEGER NOT NULL, cost_nanousd INTEGER NOT NULL,
            cap_nanousd INTEGER, remaining_nanousd INTEGER, exceeded TEXT NOT NULL, forecast_quality REAL,
            estimated_cost_nanousd INTEGER NOT NULL, estimated_input_tokens INTEGER NOT NULL,
            estimated_output_tokens INTEGER NOT NULL, lagrangian REAL, decided TEXT NOT NULL, first_choice TEXT,
            best TEXT, uniform REAL, propensity REAL, candidates BLOB NOT NULL, attempts TEXT NOT NULL,
            query_key BLOB, router_digest TEXT NOT NULL, encoder_digest TEXT NOT NULL, prices_digest TEXT NOT NULL,
            configuration_digest TEXT NOT NULL, prices TEXT NOT NULL, encode_ms REAL NOT NULL, first_byte_ms REAL,
            total_ms REAL NOT NULL, overhead_ms REAL NOT NULL
        );
        CREATE INDEX IF NOT EXISTS decisions_by_time ON decisions(started_at);
        CREATE TABLE IF NOT EXISTS queries(
            key BLOB PRIMARY KEY, images TEXT NOT NULL, encoder TEXT, views TEXT, embedding BLOB, seen_at REAL NOT NULL
        );
        CREATE INDEX IF NOT EXISTS queries_by_time ON queries(seen_at);
        CREATE TABLE IF NOT EXISTS labels(
            request_id TEXT NOT NULL, source TEXT NOT NULL, tenant TEXT NOT NULL, score REAL NOT NULL,
            version TEXT NOT NULL, probability REAL NOT NULL, comment TEXT, labelled_at REAL NOT NULL,
            PRIMARY KEY(request_id, source)
        ) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS labels_by_tenant ON labels(tenant);
        """,
    ),
)
"""`decisions`: money in nanodollars. `decided` is one of `rows.Decided`; `candidates` is a packed array of arrays,
whose places are `rows.CANDIDATE_FIELDS`; `attempts` is a JSON array of [candidate, failure or null, cost].

`queries`: one row per distinct content. `images` is a JSON array of [key, width, height, detail, sha256 of the file or
null]; `views` is a JSON array of [view, dimension] in the order in which `embedding` holds them, in half precision;
`seen_at` is when the content was last seen, precise to a day.
"""
CONTENT = Schema(
    "kept content",
    (
        """
        CREATE TABLE IF NOT EXISTS questions(
            tenant TEXT NOT NULL, key BLOB NOT NULL, text TEXT NOT NULL, seen_at REAL NOT NULL, PRIMARY KEY(tenant, key)
        );
        CREATE INDEX IF NOT EXISTS questions_by_time ON questions(seen_at);
        CREATE TABLE IF NOT EXISTS pictures(
            tenant TEXT NOT NULL, sha256 BLOB NOT NULL, data BLOB NOT NULL, seen_at REAL NOT NULL,
            PRIMARY KEY(tenant, sha256)
        );
        CREATE INDEX IF NOT EXISTS pictures_by_time ON pictures(seen_at);
        CREATE TABLE IF NOT EXISTS replies(
            request_id TEXT PRIMARY KEY, tenant TEXT NOT NULL, text TEXT NOT NULL, seen_at REAL NOT NULL
        );
        CREATE INDEX IF NOT EXISTS replies_by_time ON replies(seen_at);
        CREATE INDEX IF NOT EXISTS replies_by_tenant ON replies(tenant);
        """,
    ),
)


def decisions_path(store: Path) -> Path:
    """Return where the gateway with this `store.path` keeps decisions: `loupe-decisions.sqlite`."""
    return store.with_name(f"{store.stem}-decisions{store.suffix}")


def content_path(store: Path) -> Path:
    """Return where the gateway with this `store.path` keeps content: `loupe-content.sqlite`."""
    return store.with_name(f"{store.stem}-content{store.suffix}")


def open_decisions(path: Path) -> sqlite3.Connection:
    """Create or open the file; several processes may do so at once. Raises StoreError."""
    return _opened(path, DECISIONS)


def open_content(path: Path) -> sqlite3.Connection:
    """Open like `open_decisions`. Deleted content is overwritten, and only the file's owner may read it."""
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    return _opened(path, CONTENT)


@contextmanager
def reading(path: Path, schema: Schema) -> Iterator[sqlite3.Connection]:
    """Yield a read-only connection to an existing file of this schema, or an older version. Raises StoreError."""
    if not path.is_file():
        raise StoreError(f"{path} is not there")
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
        try:
            refuse_newer(db, schema, path)
            db.row_factory = sqlite3.Row
            yield db
        finally:
            db.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error


def _opened(path: Path, schema: Schema) -> sqlite3.Connection:
    try:
        db = opened(path, schema)
        try:
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA secure_delete = ON")
            db.execute(
                "PRAGMA wal_autocheckpoint = 8000"
            )  # in pages: rarer is cheaper, and it runs in the log's thread
            db.execute(f"PRAGMA busy_timeout = {BUSY_S * 1e3:.0f}")
        except sqlite3.Error:
            db.close()
            raise
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    return db
