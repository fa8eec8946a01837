"""MMR-Bench CSV files: what is read, what is refused and where the text says the fault is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from routers.table.mmr_csv import read_mmr_csv, write_mmr_csv
from routers.table.outcome_table import TableError
from tests.fakes.same_table import assert_same_table
from tests.fakes.synthetic import drawn_table, full_table, written_csv
from tests.shared import SHARED_DATA, needs_shared_data

PLAIN = (
    "dataset_idx,question,answer,img_path,a_correct,a_token,a_cost,b_correct\n"
    '1,"Which?\nOne, or ""two""?",x,pics/1.png,1,20,0.001,0.5\n'
    "2,What?,y,,,30,,0\n"
)


def test_multi_line_text_and_missing_cells_are_read(tmp_path: Path) -> None:
    table = read_mmr_csv(written_csv(tmp_path, PLAIN))
    assert table.candidates == ("a", "b")
    assert table.questions[0] == 'Which?\nOne, or "two"?'
    assert table.image_paths == (tmp_path / "pics" / "1.png", None)
    assert table.groups == ("pics/1.png", "What?")
    assert table.details == {"answer": ("x", "y")}
    np.testing.assert_array_equal(table.score, [[1, 0.5], [np.nan, 0]])
    np.testing.assert_array_equal(table.output_tokens, [[20, np.nan], [30, np.nan]])
    np.testing.assert_array_equal(table.cost_usd, [[0.001, np.nan], [np.nan, np.nan]])


def test_images_are_looked_for_where_the_caller_says(tmp_path: Path) -> None:
    table = read_mmr_csv(written_csv(tmp_path, PLAIN), images=tmp_path / "elsewhere")
    assert table.image_paths[0] == tmp_path / "elsewhere" / "pics" / "1.png"


def test_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    table = read_mmr_csv(written_csv(tmp_path, "\ufeff" + PLAIN.replace("\n", "\r\n")))
    assert table.query_ids == ("1", "2")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("question,a_correct\nx,1\n", "no column 'dataset_idx'"),
        ("dataset_idx,question\n1,x\n", "no candidate"),
        ("dataset_idx,question,a_correct,a_correct\n1,x,1,1\n", "'a_correct' appears twice"),
        ("dataset_idx,question,a_correct\n1,x\n", "row 1 has 2 cells, the header 3"),
        ("dataset_idx,question,a_correct\n1,x,1\n2,y,yes\n", "row 2, column 'a_correct': 'yes' is not a number"),
        ("dataset_idx,question,a_correct\n1,x,2\n", r"'a' for query '1' \(row 1\): 2 is not within 0 to 1"),
        ("dataset_idx,question,a_correct,a_cost\n1,x,1,inf\n", "cost_usd.*finite"),
        ("dataset_idx,question,a_correct\n1,x,1\n1,y,1\n", "query id '1' appears twice"),
        ('dataset_idx,question,a_correct\n1,"x,1\n', "not a CSV file"),
    ],
)
def test_unusable_file_is_refused_with_its_reason(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(TableError, match=says) as raised:
        read_mmr_csv(written_csv(tmp_path, text))
    assert str(raised.value).startswith("table.csv: ")


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(TableError, match="UTF-8"):
        read_mmr_csv(path)


def test_table_without_rows_is_read(tmp_path: Path) -> None:
    table = read_mmr_csv(written_csv(tmp_path, "dataset_idx,question,a_correct\n"))
    assert len(table) == 0
    assert table.score.shape == (0, 1)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    table = full_table(tmp_path)
    write_mmr_csv(table, tmp_path / "out.csv")
    assert_same_table(read_mmr_csv(tmp_path / "out.csv"), table, notes=False)


@pytest.mark.slow
@needs_shared_data
def test_real_tables_are_read_and_written_back(tmp_path: Path) -> None:
    for name, rows, candidates, groups in (("DynaMath", 3450, 14, 345), ("BlindTest", 7290, 4, 3379)):
        table = read_mmr_csv(SHARED_DATA / f"{name}.csv")
        assert table.score.shape == (rows, candidates)
        assert len(set(table.groups)) == groups
        assert table.mask.all()
        assert all(path is not None and path.is_file() for path in table.image_paths)
        write_mmr_csv(table, tmp_path / "out.csv")
        assert_same_table(read_mmr_csv(tmp_path / "out.csv"), table)


def test_words_for_right_and_wrong_are_numbers(tmp_path: Path) -> None:
    table = read_mmr_csv(written_csv(tmp_path, "dataset_idx,question,a_correct\n1,x,True\n2,y,False\n3,z,\n4,z,0.25\n"))
    np.testing.assert_array_equal(table.score[:, 0], [1, 0, np.nan, 0.25])


def test_further_columns_are_read_where_they_stand(tmp_path: Path) -> None:
    header = "dataset_idx,question,a_correct,a_prompt_token,a_latency,a_weight,a_source,b_correct,b_token"
    table = read_mmr_csv(written_csv(tmp_path, f"{header}\n1,x,1,311,0.5,2,feedback,0,7\n2,y,,,,,,,\n"))
    assert table.details == {}
    for name, expected in (("input_tokens", 311), ("latency_s", 0.5), ("weight", 2)):
        np.testing.assert_array_equal(table.arrays()[name], [[expected, np.nan], [np.nan, np.nan]])
    assert table.arrays()["source"].tolist() == [["feedback", ""], ["", ""]]
    assert read_mmr_csv(written_csv(tmp_path, PLAIN)).input_tokens is None


def test_output_tokens_of_a_candidate_called_prompt_are_not_input_tokens_of_another(tmp_path: Path) -> None:
    header = "dataset_idx,question,a_correct,a_prompt_correct,a_prompt_token,a_prompt_prompt_token"
    table = read_mmr_csv(written_csv(tmp_path, f"{header}\n1,x,1,0,5,6\n"))
    np.testing.assert_array_equal(table.output_tokens, [[np.nan, 5]])
    np.testing.assert_array_equal(table.arrays()["input_tokens"], [[np.nan, 6]])


def test_images_of_the_benchmark_itself_are_found_by_their_id(tmp_path: Path) -> None:
    for name in ("MathVista/12.jpg", "SEEDBenchv2Plus/0.png", "images/OCRBench/3.jpg", "secret.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    ids = ("MathVista_12", "SEEDBench2_Plus_0", "OCRBench_3", "MathVista_13", "._secret", "plain", "a\0_1")
    table = read_mmr_csv(
        written_csv(tmp_path, "dataset_idx,question,a_correct\n" + "".join(f"{name},q,1\n" for name in ids))
    )
    found = [tmp_path / name for name in ("MathVista/12.jpg", "SEEDBenchv2Plus/0.png", "images/OCRBench/3.jpg")]
    assert table.image_paths == (*found, None, None, None, None)
    assert set(table.groups) == {"q"}, "groups do not depend on which files are there"


def test_long_cells_are_read(tmp_path: Path) -> None:
    question = "why? " * 50_000
    assert read_mmr_csv(written_csv(tmp_path, f"dataset_idx,question,a_correct\n1,{question},1\n")).questions == (
        question,
    )


def test_columns_that_would_share_a_name_are_not_written(tmp_path: Path) -> None:
    drawn, _ = drawn_table(groups=1)
    table = replace(drawn, details={"group": drawn.groups})
    with pytest.raises(TableError, match="two columns would be called 'group'"):
        write_mmr_csv(table, tmp_path / "out.csv")
    with pytest.raises(TableError, match="is not text in UTF-8"):
        write_mmr_csv(replace(drawn, questions=("\ud800",) * len(drawn)), tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


NUMBERS = st.one_of(st.just(float("nan")), st.floats(0, 1e300, allow_subnormal=True), st.just(-0.0))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.tuples(TEXTS, NUMBERS, NUMBERS), min_size=1, max_size=4))
def test_any_text_and_any_number_come_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float, float]]
) -> None:
    texts, costs, seconds = zip(*rows, strict=True)
    drawn = drawn_table(groups=1)[0].take(range(len(rows))).select(["candidate-0"])
    table = replace(
        drawn,
        questions=texts,
        cost_usd=np.array(costs)[:, None],
        latency_s=np.array(seconds)[:, None],
        details={"answer": texts},
    )
    path = tmp_path_factory.mktemp("bits") / "out.csv"
    write_mmr_csv(table, path)
    found = read_mmr_csv(path)
    assert (found.questions, found.details) == (texts, {"answer": texts})
    for name in ("cost_usd", "latency_s"):
        assert found.arrays()[name].tobytes() == table.arrays()[name].tobytes(), name
