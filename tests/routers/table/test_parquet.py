"""Outcome tables in Parquet: everything comes back to the bit, and what cannot be read is named with its place."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given

from routers.table.mmr_csv import read_mmr_csv, write_mmr_csv
from routers.table.outcome_table import OutcomeTable, TableError
from routers.table.parquet import (
    CELLS,
    QUERIES,
    TableVectors,
    is_table_folder,
    read_embedded,
    read_parquet,
    write_parquet,
)
from tests.fakes.same_table import assert_same_table
from tests.fakes.synthetic import drawn_table, full_table
from tests.shared import SHARED_DATA, needs_shared_data

CELL_ROWS: Mapping[str, list[Any]] = {
    "query_id": ["1", "1", "2"],
    "candidate": ["b", "a", "b"],
    "score": [1, 0, None],
}
QUERY_ROWS: Mapping[str, list[Any]] = {"id": ["1", "2", "3"], "text": ["What?", "Why?", "Who?"]}


def foreign(folder: Path, cells: Mapping[str, list[Any]], queries: Mapping[str, list[Any]] = QUERY_ROWS) -> Path:
    """A folder that another program wrote."""
    for name, columns in ((CELLS, cells), (QUERIES, queries)):
        pyarrow.parquet.write_table(pyarrow.table(dict(columns)), folder / name)
    return folder


def test_everything_that_a_table_says_comes_back(tmp_path: Path) -> None:
    table = full_table(tmp_path)
    write_parquet(table, tmp_path / "out")
    assert is_table_folder(tmp_path / "out")
    found = read_parquet(tmp_path / "out")
    assert_same_table(found, table)
    assert found.digest == table.digest
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [CELLS, QUERIES]


def test_arrays_that_a_table_lacks_stay_absent_and_empty_ones_stay(tmp_path: Path) -> None:
    bare, _ = drawn_table(groups=2)
    empty = replace(bare, weight=np.full(bare.score.shape, np.nan), source=np.full(bare.score.shape, ""))
    for table in (bare, empty):
        write_parquet(table, tmp_path / "out")
        assert list(read_parquet(tmp_path / "out").arrays()) == list(table.arrays())
        assert read_parquet(tmp_path / "out").digest == table.digest


def test_queries_and_candidates_without_any_cell_are_kept(tmp_path: Path) -> None:
    drawn, _ = drawn_table(groups=2)
    nothing = np.full(drawn.score.shape, np.nan)
    for table in (replace(drawn, score=nothing, output_tokens=nothing, cost_usd=nothing), drawn.take([])):
        write_parquet(table, tmp_path / "out")
        assert_same_table(read_parquet(tmp_path / "out"), table)


def test_cells_are_rows_and_missing_ones_have_none(tmp_path: Path) -> None:
    table, _ = drawn_table(groups=5, missing=0.4)
    write_parquet(table, tmp_path)
    cells = pyarrow.parquet.read_table(tmp_path / CELLS)
    assert cells.num_rows == int(table.mask.sum())
    assert cells.column_names == [
        *("query_id", "candidate", "score", "input_tokens", "output_tokens"),
        *("cost_usd", "latency_s", "weight", "source"),
    ]
    assert cells.column("weight").null_count == cells.num_rows


@pytest.mark.parametrize("height", ["1e3", "0480", "-1", "٣", "9999999999"])
def test_image_facts_are_typed_columns(tmp_path: Path, height: str) -> None:
    drawn, _ = drawn_table(groups=1)
    facts = {
        "image_sha256": ("ab" * 32, "", "", ""),
        "image_width": ("640", "", "", "7"),
        "image_height": ("", height, "", ""),
    }
    table = replace(drawn, details=facts)
    write_parquet(table, tmp_path)
    schema = pyarrow.parquet.read_schema(tmp_path / QUERIES)
    assert schema.field("image_width").type == pyarrow.int32()
    assert "image_height" not in schema.names, "it would not come back as it was"
    assert read_parquet(tmp_path).details == facts


NUMBERS = st.one_of(st.just(float("nan")), st.floats(0, 1e300, allow_subnormal=True), st.just(-0.0))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@pytest.mark.slow
@given(st.lists(st.tuples(TEXTS, NUMBERS, NUMBERS), min_size=1, max_size=4))
def test_any_text_and_any_number_come_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float, float]]
) -> None:
    texts, costs, tokens = zip(*rows, strict=True)
    drawn = drawn_table(groups=1)[0].take(range(len(rows))).select(["candidate-0"])
    arrays = {"cost_usd": np.array(costs)[:, None], "input_tokens": np.array(tokens)[:, None]}
    table = replace(drawn, questions=texts, groups=texts, details={"image_width": texts, "a/b": texts}, **arrays)
    folder = tmp_path_factory.mktemp("bits")
    write_parquet(table, folder)
    found = read_parquet(folder)
    assert (found.questions, found.groups, found.details) == (texts, texts, table.details)
    for name, values in table.arrays().items():
        assert found.arrays()[name].tobytes() == values.tobytes(), name


def test_views_come_back_in_half_precision_with_their_encoder(tmp_path: Path) -> None:
    table, views = drawn_table(groups=3)
    write_parquet(table, tmp_path, TableVectors("d1", views))
    found = read_embedded(tmp_path)
    assert found is not None
    assert found.encoder_digest == "d1"
    assert list(found.views) == list(views)
    for name, values in views.items():
        assert found.views[name].dtype == np.float32
        np.testing.assert_array_equal(found.views[name], values.astype(np.float16).astype(np.float32))
    assert_same_table(read_parquet(tmp_path), table)
    with pytest.raises(TableError, match="view 'text' has 12 rows for 4 queries"):
        write_parquet(table.take(range(4)), tmp_path, TableVectors("d1", views))
    write_parquet(table, tmp_path)
    assert read_embedded(tmp_path) is None


def test_folder_of_others_needs_little(tmp_path: Path) -> None:
    table = read_parquet(foreign(tmp_path, CELL_ROWS))
    assert (table.query_ids, table.candidates, table.groups) == (("1", "2", "3"), ("b", "a"), ("What?", "Why?", "Who?"))
    np.testing.assert_array_equal(table.score, [[1, 0], [np.nan, np.nan], [np.nan, np.nan]])
    assert list(table.arrays()) == ["score", "output_tokens", "cost_usd"]
    cells = {**CELL_ROWS, "weight": [None, 2, 3], "source": ["x", None, None]}
    queries = {**QUERY_ROWS, "image_width": [7, None, 9], "detail/level": ["low", None, "high"]}
    table = read_parquet(foreign(tmp_path, cells, queries))
    np.testing.assert_array_equal(table.arrays()["weight"], [[np.nan, 2], [3, np.nan], [np.nan, np.nan]])
    assert table.arrays()["source"].tolist() == [["x", ""], ["", ""], ["", ""]]
    assert table.details == {"level": ("low", "", "high"), "image_width": ("7", "", "9")}


@pytest.mark.parametrize(
    ("cells", "queries", "says"),
    [
        ({"query_id": ["1"], "score": [1]}, {}, "cells.parquet: column 'candidate' is missing; found: query_id, score"),
        ({}, {"text": None}, "queries.parquet: column 'text' is missing"),
        ({"query_id": ["1", "9", "2"]}, {}, "cells.parquet: row 2, column 'query_id': '9' is not known"),
        ({"query_id": ["1", "1", None]}, {}, "cells.parquet: row 3, column 'query_id' is empty"),
        ({"candidate": ["b", "b", "b"]}, {}, "row 2: a second cell of 'b' for query '1'"),
        ({"score": ["1", "good", "0"]}, {}, "cells.parquet: row 2, column 'score': 'good' is not a number"),
        ({"score": [1, 7, 0]}, {}, "score of 'a' for query '1' \\(row 1\\): 7 is not within 0 to 1"),
        ({}, {"id": ["1", "2", "1"]}, "query id '1' appears twice"),
    ],
)
def test_unusable_folder_is_refused_with_its_reason(
    tmp_path: Path, cells: dict[str, Any], queries: dict[str, Any], says: str
) -> None:
    wanted = cells if "score" in cells and len(cells) > 1 else {**CELL_ROWS, **cells}
    asked = {name: column for name, column in {**QUERY_ROWS, **queries}.items() if column is not None}
    with pytest.raises(TableError, match=says):
        read_parquet(foreign(tmp_path, wanted, asked))


def test_halves_of_two_tables_are_refused(tmp_path: Path) -> None:
    table, _ = drawn_table(groups=2)
    write_parquet(table, tmp_path)
    kept = (tmp_path / QUERIES).read_bytes()
    write_parquet(table.take(range(7)), tmp_path)
    (tmp_path / QUERIES).write_bytes(kept)
    with pytest.raises(TableError, match="two different tables"):
        read_parquet(tmp_path)


def test_files_that_are_no_parquet_and_other_formats_are_refused(tmp_path: Path) -> None:
    table, _ = drawn_table(groups=1)
    write_parquet(table, tmp_path)
    cells = pyarrow.parquet.read_table(tmp_path / CELLS)
    pyarrow.parquet.write_table(cells.replace_schema_metadata({b"loupe": b'{"format": 9}'}), tmp_path / CELLS)
    with pytest.raises(TableError, match=r"cells\.parquet is of format 9; this version reads 1"):
        read_parquet(tmp_path)
    pyarrow.parquet.write_table(cells.replace_schema_metadata({b"loupe": b"{"}), tmp_path / CELLS)
    with pytest.raises(TableError, match=r"cells\.parquet: its metadata is not what we wrote"):
        read_parquet(tmp_path)
    (tmp_path / CELLS).write_bytes(b"PAR1 not really")
    with pytest.raises(TableError, match=r"cells\.parquet: not a Parquet file"):
        read_parquet(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_parquet(tmp_path / "gone")


def test_text_that_is_none_leaves_nothing_behind(tmp_path: Path) -> None:
    table, _ = drawn_table(groups=1)
    with pytest.raises(TableError, match="is not text in UTF-8"):
        write_parquet(replace(table, questions=("\ud800",) * len(table)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_without_pyarrow_the_text_says_how_to_get_it(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from gateway.cli import main\n"
        "sys.exit(main(['table', 'import', 't.csv', '--out', 'out']))"
    )
    write_mmr_csv(drawn_table(groups=1)[0], tmp_path / "t.csv")
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=path, capture_output=True, text=True)
    said = 'loupe table: Parquet needs pyarrow: pip install "loupe-gateway[science]"\n'
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.slow
@needs_shared_data
def test_real_tables_come_back_to_the_bit(tmp_path: Path) -> None:
    for name in ("DynaMath", "BlindTest"):
        table: OutcomeTable = read_mmr_csv(SHARED_DATA / f"{name}.csv")
        write_parquet(table, tmp_path / name)
        assert_same_table(read_parquet(tmp_path / name), table)
