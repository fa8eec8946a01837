"""Tenants and keys in the embedded store's SQLite file, in separate tables.

Commits reach the disk, so that a revoked key stays revoked.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from gateway.errors import StoreError
from gateway.stores.sqlite.file import opened
from gateway.stores.sqlite.tables import STORE
from gateway.stores.tenant_rows import KeptSecret, read_key, read_tenant, settle_secret, write_key, write_tenant
from gateway.tenants.registry import ApiKey, TenantRegistry
from gateway.tenants.store import Marks, Result

PATIENCE_S = 10.0
STATEMENTS = {
    "tenants": ("DELETE FROM tenants WHERE name = ?", "INSERT OR REPLACE INTO tenants(name, terms) VALUES(?, ?)"),
    "api_keys": (
        "DELETE FROM api_keys WHERE id = ?",
        "INSERT INTO api_keys(id, hash, terms, last_used_at) VALUES(?, ?, ?, ?) ON CONFLICT(id) DO UPDATE SET "
        "hash = excluded.hash, terms = excluded.terms, last_used_at = excluded.last_used_at",
    ),
    "read_sections": (
        "DELETE FROM read_sections WHERE name = ?",
        "INSERT OR REPLACE INTO read_sections(name, digest) VALUES(?, ?)",
    ),
}
"""By table: the statement that removes a row, and the one that puts a row."""
Value = TypeVar("Value")


class SqliteTenants:
    """Implements `TenantStore`. Open it before use."""

    def __init__(self, path: Path | str, patience_s: float = PATIENCE_S) -> None:
        self._path = str(path)
        self._patience_s = patience_s
        self._lock = threading.Lock()

    def open(self) -> None:
        """Create or open the file. Raises StoreError when the file cannot be opened."""
        try:
            self._db = self._connected()
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def secret(self, given: bytes | None) -> tuple[bytes, bool]:
        with self._writing() as db:
            kept = KeptSecret(_marked(db, "secret"), _marked(db, "secret_check"))
            secret, now_kept = settle_secret(given, kept, self._path)
            _mark(db, "secret", now_kept.secret)
            _mark(db, "secret_check", now_kept.check)
        return secret, given is None

    def forget_secret(self) -> None:
        with self._writing() as db:
            db.execute("DELETE FROM tenant_marks WHERE name IN ('secret', 'secret_check')")

    def load(self) -> tuple[TenantRegistry, Marks]:
        with self._reading() as db:
            return _load(db), _marks(db)

    def change(self, change: Callable[[TenantRegistry], tuple[TenantRegistry, Result]]) -> Result:
        with self._writing() as db:
            before = _load(db)
            after, result = change(before)
            if after != before:
                _write(db, before, after)
                _mark(db, "version", str(_marks(db).version + 1))
        return result

    def marks(self) -> Marks:
        with self._reading() as db:
            return _marks(db)

    def notify(self, notice: str) -> None:
        with self._writing() as db:
            _mark(db, "notice", notice)

    def note_used(self, hashes: Collection[str], at: float) -> None:
        with self._writing() as db:
            db.executemany("UPDATE api_keys SET last_used_at = ? WHERE hash = ?", [(at, each) for each in hashes])

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._in_transaction("BEGIN") as db:
            yield db

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._in_transaction("BEGIN IMMEDIATE") as db:
            yield db

    @contextmanager
    def _in_transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute(begin)
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise StoreError(f"{self._path}: {error}") from error
            finally:
                self._roll_back()

    def _connected(self) -> sqlite3.Connection:
        db = opened(self._path, STORE, self._patience_s)
        try:
            db.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error


def _load(db: sqlite3.Connection) -> TenantRegistry:
    tenants = {name: read_tenant(text) for name, text in db.execute("SELECT name, terms FROM tenants")}
    rows = db.execute("SELECT terms, last_used_at FROM api_keys ORDER BY rowid")
    keys = {key.id: key for key in (read_key(*row) for row in rows)}
    return TenantRegistry(tenants, keys, dict(db.execute("SELECT name, digest FROM read_sections")))


def _write(db: sqlite3.Connection, before: TenantRegistry, after: TenantRegistry) -> None:
    """Write the differences."""
    _replace(db, "tenants", (before.tenants, after.tenants), lambda name, terms: (name, write_tenant(terms)))
    _replace(db, "api_keys", (before.keys, after.keys), _key_row)
    _replace(db, "read_sections", (before.provisioned, after.provisioned), lambda name, file: (name, file))


def _replace(
    db: sqlite3.Connection,
    table: str,
    change: tuple[Mapping[str, Value], Mapping[str, Value]],
    row: Callable[[str, Value], tuple[Any, ...]],
) -> None:
    """Change a table from its old content to its new content."""
    (before, after), (delete, put) = change, STATEMENTS[table]
    for name in before.keys() - after.keys():
        db.execute(delete, (name,))
    for name, value in after.items():
        if before.get(name) != value:
            db.execute(put, row(name, value))


def _key_row(key_id: str, key: ApiKey) -> tuple[Any, ...]:
    return key_id, key.hash, write_key(key), key.last_used_at


def _marks(db: sqlite3.Connection) -> Marks:
    found = dict(db.execute("SELECT name, value FROM tenant_marks WHERE name IN ('version', 'notice')"))
    return Marks(int(found.get("version", "0")), found.get("notice", ""))


def _marked(db: sqlite3.Connection, name: str) -> str:
    row = db.execute("SELECT value FROM tenant_marks WHERE name = ?", (name,)).fetchone()
    return "" if row is None else str(row[0])


def _mark(db: sqlite3.Connection, name: str, value: str) -> None:
    db.execute("INSERT OR REPLACE INTO tenant_marks(name, value) VALUES(?, ?)", (name, value))
