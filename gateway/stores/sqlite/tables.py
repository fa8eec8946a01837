"""The tables of the embedded store's two files: budgets with tenants and keys, and the secondary file."""

from __future__ import annotations

from gateway.stores.sqlite.schema import NewColumn, Schema

STORE = Schema(
    "store",
    (
        """
        CREATE TABLE IF NOT EXISTS windows(
            key TEXT PRIMARY KEY, spent INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0
        ) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS holds(
            id TEXT PRIMARY KEY, windows TEXT NOT NULL, amount INTEGER NOT NULL, charge INTEGER,
            state TEXT NOT NULL, changed_at REAL NOT NULL, expires_at REAL NOT NULL
        ) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS holds_due ON holds(expires_at) WHERE state = 'held';
        CREATE TABLE IF NOT EXISTS tenants(name TEXT PRIMARY KEY, terms TEXT NOT NULL) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS api_keys(
            id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, terms TEXT NOT NULL, last_used_at REAL
        );
        CREATE TABLE IF NOT EXISTS read_sections(name TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS tenant_marks(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
        """,
        NewColumn("windows", "forget_at", "REAL"),
        NewColumn("holds", "tokens", "INTEGER NOT NULL DEFAULT 0"),
        NewColumn("holds", "requests", "INTEGER NOT NULL DEFAULT 0"),
    ),
)
"""One version for both groups of tables, whichever module opens the file first."""

SECONDARY = Schema(
    "spend report",
    (
        """
        CREATE TABLE IF NOT EXISTS spend(
            tenant TEXT, hour INTEGER, candidate TEXT, requests INTEGER NOT NULL, cost_nanousd INTEGER NOT NULL,
            PRIMARY KEY(tenant, hour, candidate)
        ) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS paces(owner TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
        """,
    ),
)
