"""RouterBench tables: CSV and Parquet are read alike, and pickles never."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from routers.table.outcome_table import TableError
from routers.table.routerbench import read_routerbench
from tests.fakes.same_table import assert_same_table
from tests.fakes.synthetic import written_csv

HEADER = "sample_id,prompt,eval_name,gpt-4,org/small,gpt-4|model_response,org/small|model_response"
HEADER += ",gpt-4|total_cost,org/small|total_cost,oracle_model_to_route_to"
PLAIN = f'{HEADER}\nm.1,"Why, or\nhow?",mmlu,1.0,0.25,B,"C, no",0.0012,1e-06,org/small\nm.2,Who?,mtbench,,0,x,y,,0.5,\n'
COLUMNS = {
    "sample_id": ["m.1", "m.2"],
    "prompt": ["Why, or\nhow?", "Who?"],
    "eval_name": ["mmlu", "mtbench"],
    "gpt-4": [1.0, None],
    "org/small": [0.25, 0.0],
    "gpt-4|model_response": ["B", "x"],
    "org/small|model_response": ["C, no", "y"],
    "gpt-4|total_cost": [0.0012, None],
    "org/small|total_cost": [1e-06, 0.5],
    "oracle_model_to_route_to": ["org/small", None],
    "__index_level_0__": [0, 1],
}


def written_parquet(folder: Path, columns: dict[str, list[object]] | None = None) -> Path:
    path = folder / "routerbench.parquet"
    pyarrow.parquet.write_table(pyarrow.table({**COLUMNS, **(columns or {})}), path)
    return path


def test_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    table = read_routerbench(written_csv(tmp_path, PLAIN))
    assert table.candidates == ("gpt-4", "org/small")
    assert table.query_ids == ("m.1", "m.2")
    assert table.groups == table.questions == ("Why, or\nhow?", "Who?")
    assert table.image_paths == (None, None)
    assert table.details == {"eval_name": ("mmlu", "mtbench"), "oracle_model_to_route_to": ("org/small", "")}
    np.testing.assert_array_equal(table.score, [[1, 0.25], [np.nan, 0]])
    np.testing.assert_array_equal(table.cost_usd, [[0.0012, 1e-6], [np.nan, 0.5]])
    assert np.isnan(table.output_tokens).all()
    assert_same_table(read_routerbench(written_parquet(tmp_path)), table)


@pytest.mark.parametrize("name", ["table.pkl", "table.PICKLE", "table.csv", "table.parquet"])
def test_pickle_is_refused_unopened_whatever_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(COLUMNS))
    with pytest.raises(TableError, match=r"a pickle runs whatever.*convert it.*to_parquet") as raised:
        read_routerbench(tmp_path / name)
    assert str(raised.value).startswith(name)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prompt,a,a|total_cost\nx,1,1\n", "no column 'sample_id'; is this a RouterBench table"),
        ("sample_id,prompt,a\n1,x,1\n", "no column ends in '|total_cost'"),
        ("sample_id,prompt,a|total_cost\n1,x,1\n", "'a|total_cost', and no column 'a' with its scores"),
        ("sample_id,prompt,a,a|total_cost\n1,x,1,cheap\n", "row 1, column 'a|total_cost': 'cheap' is not a number"),
        ("sample_id,prompt,a,a|total_cost\n1,x,9,1\n", "score of 'a' for query '1' (row 1): 9 is not within 0 to 1"),
    ],
)
def test_unusable_file_is_refused_with_its_reason(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(TableError) as raised:
        read_routerbench(written_csv(tmp_path, text))
    assert says in str(raised.value)
    assert str(raised.value).startswith("table.csv: ")


def test_numbers_that_are_none_are_named_in_parquet_too(tmp_path: Path) -> None:
    path = written_parquet(tmp_path, {"gpt-4": ["1.0", "good"]})
    with pytest.raises(TableError, match=r"routerbench\.parquet: row 2, column 'gpt-4': 'good' is not a number"):
        read_routerbench(path)
