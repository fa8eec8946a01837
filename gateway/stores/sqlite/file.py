"""The opening of a SQLite file that several processes may open, or create, at the same time."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

from gateway.stores.sqlite.schema import Schema, migrate, refuse_newer

PATIENCE_S = 10.0
RETRY_S = 0.005
BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
PASSING_CODES = (
    *BUSY_CODES,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
)
FILE_CODES = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA)
Fault = Literal["passing", "file", "row"]
"""Why a write failed: `passing`: a lock or the disk, which may pass; `file`: the file's tables, which fail every row;
`row`: the row's values.
"""


def opened(path: Path | str, schema: Schema, patience_s: float = PATIENCE_S) -> sqlite3.Connection:
    """Open a file at the newest version of its schema; create or migrate the file. Blocking.

    The connection is in WAL mode, commits each statement and may change threads. Its statements wait `patience_s` for
    another transaction. A new file is its owner's alone, and so are the two files beside it, which SQLite makes with
    the same permissions: they hold hashes of keys, embeddings, or who spent what. Raises SchemaError and sqlite3.Error.
    """
    if str(path) != ":memory:":
        with suppress(OSError):  # SQLite says what is wrong with the path
            Path(path).touch(mode=0o600)
    db = sqlite3.connect(path, timeout=patience_s, isolation_level=None, check_same_thread=False)
    try:
        _make_ready(db, schema, path, time.monotonic() + patience_s)
    except BaseException:
        db.close()
        raise
    return db


def is_busy(error: sqlite3.Error) -> bool:
    """Return True if the statement failed only because another process held the file."""
    return _code(error) in BUSY_CODES


def fault_of(error: Exception) -> Fault:
    """Return the cause of a failed write."""
    code = _code(error)
    if code in PASSING_CODES:
        return "passing"
    return "file" if code in FILE_CODES else "row"


def _code(error: Exception) -> int | None:
    """Return SQLite's primary result code; None if the error did not come from SQLite itself."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _make_ready(db: sqlite3.Connection, schema: Schema, path: Path | str, deadline: float) -> None:
    """Bring the file to WAL mode and its newest schema; try again while another process does the same.

    SQLite's own timeout does not apply here: of two processes that turn a new file to WAL, one gets SQLITE_BUSY at once
    (https://www.sqlite.org/c3ref/busy_handler.html: SQLite does not begin a wait that could deadlock).
    """
    while True:
        try:
            refuse_newer(db, schema, path)
            db.execute("PRAGMA journal_mode = WAL")
            migrate(db, schema, path)
            return
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
        time.sleep(RETRY_S)
