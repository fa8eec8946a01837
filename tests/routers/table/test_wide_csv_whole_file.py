"""A file stands whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from routers.table.wide_csv import whole_file


def test_file_takes_its_name_when_all_is_written(tmp_path: Path) -> None:
    target = tmp_path / "x.csv"
    target.write_text("old")
    with whole_file(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_failure_leaves_what_stood_there(tmp_path: Path) -> None:
    target = tmp_path / "x.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError), whole_file(target) as partial:
        partial.write_text("ne")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
