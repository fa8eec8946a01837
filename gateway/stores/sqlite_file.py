"""A SQLite file that several processes open at once, the first of them a new one."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

PATIENCE_S = 10.0
RETRY_S = 0.005
BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def opened(path: Path | str, patience_s: float = PATIENCE_S) -> sqlite3.Connection:
    """A connection in WAL mode that commits each statement and may change threads; creates the file. Its statements
    wait `patience_s` for another's transaction. Blocking. Raises sqlite3.Error.
    """
    db = sqlite3.connect(path, timeout=patience_s, isolation_level=None, check_same_thread=False)
    try:
        _write_ahead(db, time.monotonic() + patience_s)
    except sqlite3.Error:
        db.close()
        raise
    return db


def is_busy(error: sqlite3.Error) -> bool:
    """Whether it would have gone well had nobody else held the file."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in BUSY_CODES


def _write_ahead(db: sqlite3.Connection, deadline: float) -> None:
    """SQLite's own patience does not hold here: of two that turn a new file to WAL, one is told at once that it is
    busy (https://www.sqlite.org/c3ref/busy_handler.html: a wait that could not end is not begun).
    """
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
        time.sleep(RETRY_S)
