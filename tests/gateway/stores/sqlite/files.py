"""Stores on a file, and what stands in it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from gateway.stores.sqlite.budgets import SqliteStore
from tests.checks.store_checks import Clock


async def opened(
    path: Path, clock: Clock | None = None, *, lock_patience_s: float = 60.0, steady: Clock | None = None
) -> SqliteStore:
    """Without `steady`, the clock never jumps: time passes."""
    clock = clock or Clock()
    store = SqliteStore(path, clock, lock_patience_s=lock_patience_s, monotonic=steady or clock)
    await store.open()
    return store


def rows(path: Path, query: str) -> list[Any]:
    db = sqlite3.connect(path)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()
