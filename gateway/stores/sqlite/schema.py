"""The version of a SQLite file's tables, and the steps that bring an older file to the newest version.

The version is SQLite's `user_version`. It is 0 in a new file, and in a file that Loupe made before files had versions.
So the first step of every schema creates only what is missing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gateway.errors import StoreError

REMEDY = "put back a backup of the file, or move the file away and Loupe makes a new one"


class SchemaError(StoreError):
    """The tables of a file cannot be used by this version of Loupe; waiting does not help."""


@dataclass(frozen=True, slots=True)
class NewColumn:
    """A step that adds a column to a table, unless the table already has the column: a file without a version may have
    it.
    """

    table: str
    name: str
    kind: str


Step = str | NewColumn
"""SQL statements with `;` between them, or a column."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one kind of file. `kind` names the kind in messages; `steps[n]` takes a file from version n to n +
    1.

    A released step never changes: a correction is a further step.
    """

    kind: str
    steps: tuple[Step, ...]

    @property
    def version(self) -> int:
        """The newest version."""
        return len(self.steps)


def refuse_newer(db: sqlite3.Connection, schema: Schema, path: Path | str) -> int:
    """Return the version of an open file. Raises SchemaError for a version newer than `schema` knows, and
    sqlite3.Error.
    """
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > schema.version:
        raise SchemaError(
            f"{path}: the file has version {version} of the {schema.kind} and this Loupe knows version "
            f"{schema.version}: use the Loupe that wrote the file, or put back a backup from before the upgrade"
        )
    return version


def migrate(db: sqlite3.Connection, schema: Schema, path: Path | str) -> None:
    """Bring an open file to the newest version in one transaction, or leave the file unchanged.

    Several processes may migrate a file at once. `db` commits each statement (`isolation_level=None`). Raises
    SchemaError for a file that is newer or whose tables lack columns, and sqlite3.Error.
    """
    if refuse_newer(db, schema, path) == schema.version:
        _check_columns(db, schema, path)
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        version = refuse_newer(db, schema, path)  # another process may have migrated it since
        try:
            for step in schema.steps[version:]:
                _take(db, step)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                raise
            what = f"the file cannot be migrated from version {version} to {schema.version} of the {schema.kind}"
            raise SchemaError(f"{path}: {what} ({error}): {REMEDY}") from error
        _check_columns(db, schema, path)
        db.execute(f"PRAGMA user_version = {schema.version}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@cache
def columns_of(schema: Schema) -> Mapping[str, tuple[str, ...]]:
    """Return the columns of each table at the newest version, in their order in a new file."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for step in schema.steps:
            _take(db, step)
        tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        return {table: tuple(_columns(db, table)) for (table,) in tables}
    finally:
        db.close()


def _take(db: sqlite3.Connection, step: Step) -> None:
    if isinstance(step, NewColumn):
        if step.name not in _columns(db, step.table):
            db.execute(f"ALTER TABLE {step.table} ADD COLUMN {step.name} {step.kind}")
        return
    for statement in filter(None, map(str.strip, step.split(";"))):  # `executescript` would commit first
        db.execute(statement)


def _check_columns(db: sqlite3.Connection, schema: Schema, path: Path | str) -> None:
    """Refuse tables that lack columns, or that have further columns which every row must fill. Raises SchemaError."""
    for table, expected in columns_of(schema).items():
        found = _columns(db, table)
        missing = [name for name in expected if name not in found]
        unknown = [name for name, is_required in found.items() if is_required and name not in expected]
        if not missing and not unknown:
            continue
        if not found:
            what = f"table {table} is missing"
        elif missing:
            what = f"table {table} lacks {', '.join(missing)}"
        else:
            what = f"table {table} wants values for unknown columns: {', '.join(unknown)}"
        raise SchemaError(f"{path}: {what} (version {schema.version} of the {schema.kind}): {REMEDY}")


def _columns(db: sqlite3.Connection, table: str) -> dict[str, bool]:
    """Return a table's columns, and whether every row must give a value; empty if there is no such table."""
    rows = db.execute(f"PRAGMA table_info({table})")
    return {name: bool(not_null and default is None) for _, name, _, not_null, default, _ in rows}
