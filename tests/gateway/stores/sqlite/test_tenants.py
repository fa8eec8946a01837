"""Tenants and keys in SQLite: the laws of every such store, and what is the file's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.stores.sqlite.tenants import SqliteTenants
from tests.checks.tenant_checks import FULL, TenantChecks


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "loupe.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteTenants]:
    with closing(SqliteTenants(path)) as found:
        found.open()
        yield found


@pytest.fixture
def same(path: Path, store: SqliteTenants) -> Iterator[SqliteTenants]:
    with closing(SqliteTenants(path)) as found:
        found.open()
        yield found


class TestSqliteTenants(TenantChecks):
    pass


def test_a_file_that_can_not_be_had_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        SqliteTenants(tmp_path / "nowhere" / "loupe.sqlite").open()


def test_a_file_that_is_no_store_is_named(path: Path) -> None:
    path.write_bytes(b"this is no database, and long enough to be seen as none" * 20)
    with pytest.raises(StoreError, match=r"loupe\.sqlite"):
        SqliteTenants(path).open()


def test_a_lock_that_lasts_is_an_error_and_not_a_wait_for_ever(store: SqliteTenants, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        impatient = SqliteTenants(path, patience_s=0.05)
        impatient.open()
        with closing(impatient):
            assert impatient.load()[0].keys == {}, "reading waits for nobody"
            with pytest.raises(StoreError, match="locked"):
                impatient.change(lambda _: (FULL, None))
        other.execute("ROLLBACK")
    store.change(lambda _: (FULL, None))
    assert store.load()[0] == FULL


def test_a_given_secret_is_nowhere_in_the_file(store: SqliteTenants, path: Path) -> None:
    store.secret(b"given-by-the-environment")
    found = b"".join(each.read_bytes() for each in path.parent.iterdir())
    assert b"given-by-the-environment" not in found
    assert b"given-by-the-environment".hex().encode() not in found
