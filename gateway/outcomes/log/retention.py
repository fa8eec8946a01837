"""The removal of old rows, a few at a time, so that the thread that removes them can continue writing."""

from __future__ import annotations

import sqlite3

REMOVED_AT_ONCE = 50
DAY_S = 86_400.0


def remove_some(db: sqlite3.Connection, table: str, where: str, value: object) -> int:
    """Remove up to `REMOVED_AT_ONCE` rows of a table with row ids. Returns the number of rows.

    `where` has one placeholder for `value`.
    """
    some = f"SELECT rowid FROM {table} WHERE {where} LIMIT {REMOVED_AT_ONCE}"  # noqa: S608  the text is our own
    return db.execute(f"DELETE FROM {table} WHERE rowid IN ({some})", (value,)).rowcount  # noqa: S608


def remove_old_decisions(db: sqlite3.Connection, before: float) -> int:
    """Remove some decisions from before `before`, with their labels, and contents not seen since. Returns the number of
    rows.

    Raises sqlite3.Error.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        old = db.execute(_OLD, (before, REMOVED_AT_ONCE)).fetchall()
        db.executemany("DELETE FROM labels WHERE request_id = ?", old)
        db.executemany("DELETE FROM decisions WHERE request_id = ?", old)
        removed = len(old) + remove_some(
            db, "queries", "seen_at < ?", before - DAY_S
        )  # `seen_at` is updated once a day
        db.execute("COMMIT")
    except Exception:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return removed


_OLD = "SELECT request_id FROM decisions WHERE started_at < ? ORDER BY started_at LIMIT ?"
