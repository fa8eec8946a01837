"""What pacing has learned, kept in the file beside the store's."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.stores.sqlite.pacing import SqlitePacingStore
from gateway.stores.sqlite.secondary import secondary_path


def test_the_file_lies_beside_the_ledgers() -> None:
    assert secondary_path(Path("var/loupe.sqlite")) == Path("var/loupe-spend.sqlite")


def test_what_was_written_last_is_read(tmp_path: Path) -> None:
    first, second = (SqlitePacingStore(tmp_path / "spend.sqlite") for _ in range(2))
    assert first.read("acme") is None
    first.write({"acme": "one", "acme/key/k": "its own"})
    second.write({"acme": "two"})
    assert [first.read("acme"), first.read("acme/key/k"), first.read("other")] == ["two", "its own", None]


def test_a_file_that_can_not_be_had_is_an_error_of_the_store(tmp_path: Path) -> None:
    path = tmp_path / "spend.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match=r"spend\.sqlite"):
        SqlitePacingStore(path).read("acme")
    with pytest.raises(StoreError):
        SqlitePacingStore(path).write({"acme": "one"})
