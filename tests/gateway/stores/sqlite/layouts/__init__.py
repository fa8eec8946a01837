"""SQLite files as Loupe left them before files had versions (commit a23d003), as dumps that tests load."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

KINDS = ("store", "spend", "decisions", "content")
Rows = dict[str, list[tuple[object, ...]]]


def lay(kind: str, path: Path) -> Path:
    """Make the file of this kind at a path, with its rows and no version."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript((Path(__file__).parent / f"{kind}.sql").read_text(encoding="utf-8"))
    return path


def rows_in(path: Path) -> Rows:
    """Every table of a file with all of its rows, in an order of their own."""
    with closing(sqlite3.connect(path)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {name: sorted(db.execute(f"SELECT * FROM {name}"), key=repr) for name in names}


def change(path: Path, *statements: str) -> None:
    """Run statements on a file, each in a transaction of its own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])
