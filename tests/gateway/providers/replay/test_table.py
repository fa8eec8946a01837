"""Reading a table and finding its rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.providers.replay import read_table
from tests.gateway.providers.replay.tables import QUESTION, ROWS, data_url, write_table
from tests.shared import SHARED_DATA, needs_shared_data


def test_row_is_found_by_question_and_image_content(tmp_path: Path) -> None:
    table = read_table([write_table(tmp_path)])
    for name, answer in (("bars.png", "7"), ("other.png", "9")):
        found = table.find(f" {QUESTION}\n", [data_url(tmp_path / name)])
        assert found is not None and found.answer == answer
    assert table.find(QUESTION, []) is None
    assert table.find(QUESTION, ["data:image/png;base64,AAAA"]) is None
    assert table.find(QUESTION, ["data:image/png;base64,#"]) is None
    assert table.find("Another question?", [data_url(tmp_path / "bars.png")]) is None


def test_remote_image_is_found_by_the_end_of_its_path(tmp_path: Path) -> None:
    table = read_table([write_table(tmp_path)])
    found = table.find(QUESTION, ["https://images.example/some/where/other.png?size=1"])
    assert found is not None and found.id == "other"
    assert table.find(QUESTION, ["https://images.example/another.png"]) is None


def test_same_question_and_image_in_two_tables_is_the_first_ones(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    tables = [write_table(first), write_table(second, [{**ROWS[0], "answer": "8"}])]
    table = read_table(tables)
    assert len(table.queries) == len(ROWS) + 1
    found = table.find(QUESTION, [data_url(second / "bars.png")])
    assert found is not None and found.answer == "7"


def test_missing_cell_stays_missing_and_half_a_point_is_right(tmp_path: Path) -> None:
    table = read_table([write_table(tmp_path)])
    by_id = {query.id: query for query in table.queries}
    assert set(by_id["partial"].cells) == {"good"}
    assert by_id["choice"].cells["bad"].is_right
    assert by_id["bars"].cells["good"].prompt_tokens == 311
    assert by_id["bars"].cells["bad"].prompt_tokens is None
    assert by_id["bars"].image_tokens == 4  # 60 x 50 / 750


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("answer,a_correct\nx,1\n", "no column `question`"),
        ("question,answer\nx,1\n", "no candidate"),
        ("question,a_correct\nx,maybe\n", "row 1, column a_correct: 'maybe'"),
        ("question,a_correct\nx,1\ny,nan\n", "row 2, column a_correct: 'nan'"),
        ("question,img_path,a_correct\nx,gone.png,1\n", "No such file"),
        ("question,img_path,a_correct\nx,table.csv,1\n", "no image"),
    ],
)
def test_broken_table_is_refused_by_row_and_column(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        read_table([path])


def test_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_table([tmp_path / "gone.csv"])


@pytest.mark.slow
@needs_shared_data
def test_shared_tables_are_read_and_every_row_is_found() -> None:
    table = read_table([SHARED_DATA / "DynaMath.csv", SHARED_DATA / "BlindTest.csv"])
    assert len(table.queries) == 10_740
    assert len(table.candidates) == 15
    for query in table.queries[::50]:
        found = table.find(query.question, [f"https://host/{query.image_path}"])
        assert found is not None and found.question == query.question
