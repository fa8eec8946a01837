"""Tables by path: each format is known by what stands there, and a new one's by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from routers.table.formats import FORMATS, WRITTEN, format_for, format_of, read_table, write_table
from routers.table.outcome_table import TableError
from routers.table.parquet import TableVectors, read_embedded
from tests.fakes.same_table import assert_same_table
from tests.fakes.synthetic import drawn_table, full_table, textual_table, written_csv
from tests.routers.table.test_routerbench import PLAIN, written_parquet


@pytest.mark.parametrize(("name", "format"), [("t.csv", "mmr"), ("t", "parquet"), ("t.v1", "parquet")])
def test_name_gives_the_format_and_content_gives_it_back(tmp_path: Path, name: str, format: str) -> None:
    table = textual_table(tmp_path)
    assert format_for(Path(name)) == format
    write_table(table, tmp_path / name)
    assert format_of(tmp_path / name) == format
    assert_same_table(read_table(tmp_path / name), table)


def test_routerbench_is_known_by_its_columns_and_by_being_one_parquet_file(tmp_path: Path) -> None:
    for path in (written_csv(tmp_path, PLAIN), written_parquet(tmp_path)):
        assert format_of(path) == "routerbench"
        assert read_table(path).candidates == ("gpt-4", "org/small")


def test_routerbench_is_read_and_not_written(tmp_path: Path) -> None:
    table, _ = drawn_table(groups=1)
    with pytest.raises(TableError, match="unknown format 'routerbench'; known: mmr, parquet"):
        write_table(table, tmp_path / "t.csv", "routerbench")
    with pytest.raises(TableError, match=r"t\.parquet: a table is written as a \.csv file or as a folder"):
        write_table(table, tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_format_that_is_said_wins(tmp_path: Path) -> None:
    table, _ = drawn_table(groups=1)
    path = written_csv(tmp_path, PLAIN)
    with pytest.raises(TableError, match="no column 'dataset_idx'"):
        read_table(path, format="mmr")
    write_table(table, tmp_path / "t", "mmr")
    assert format_of(tmp_path / "t") == "mmr"
    with pytest.raises(TableError, match=f"unknown format 'xls'; known: {', '.join(FORMATS)}"):
        read_table(path, format="xls")
    with pytest.raises(TableError, match=f"unknown format 'xls'; known: {', '.join(WRITTEN)}"):
        write_table(table, tmp_path / "x", "xls")


def test_images_start_where_the_caller_says(tmp_path: Path) -> None:
    table = full_table(tmp_path)
    for name in ("t.csv", "t"):
        write_table(table, tmp_path / name)
        found = read_table(tmp_path / name, tmp_path / "elsewhere" / "deep").image_paths[0]
        assert found is not None
        assert found.is_relative_to(tmp_path / "elsewhere")


def test_views_go_along_into_parquet(tmp_path: Path) -> None:
    table, views = drawn_table(groups=1)
    write_table(table, tmp_path / "t", embedded=TableVectors("d", views))
    found = read_embedded(tmp_path / "t")
    assert found is not None
    assert set(found.views) == set(views)


def test_folder_without_a_table_and_a_pickle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"without cells\.parquet and queries\.parquet"):
        read_table(tmp_path)
    (tmp_path / "t.csv").write_bytes(b"\x80\x04.")
    with pytest.raises(TableError, match="pickle"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "gone.csv")
