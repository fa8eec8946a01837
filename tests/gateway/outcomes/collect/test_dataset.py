"""Data sets: what is read, and how each bad row is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from gateway.errors import ConfigError
from gateway.images.data_url import ImageLimits
from gateway.outcomes.collect.dataset import Dataset, ReadingSettings, read_dataset


def read(path: Path, grader: str = "auto", limits: ImageLimits | None = None) -> Dataset:
    return read_dataset(path, ReadingSettings(path.parent, limits or ImageLimits(), grader), lambda _done, _total: None)


def write(folder: Path, text: str, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_as_mmr_bench_writes_them(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    path = write(
        tmp_path,
        "dataset_idx,group,question,answer,img_path,subject,x_correct,x_token,x_cost,x_source\n"
        'one,g1,"How many,\nall in all?",7,a.png,maths,1,2,3,s\n'
        "two,,Which? (A) this (B) that,B,,logic,0,2,3,s\n",
    )
    one, two = read(path).rows
    assert (one.id, one.group, one.question, one.number) == ("one", "g1", "How many,\nall in all?", 1)
    assert one.picture is not None and (one.picture.header.width, one.picture.header.height) == (30, 20)
    assert one.details == {"answer": "7", "subject": "maths"}, "others' outcomes are left out"
    assert (two.group, two.picture, two.grader.version) == ("Which? (A) this (B) that", None, "choice/1")


def test_json_lines_with_options_and_graders_of_their_own(tmp_path: Path) -> None:
    lines = [
        {"question": "x?", "answer": 7, "id": "first"},
        {"question": "y?", "answer": "no", "options": ["yes", "no"]},
        {"question": "z?", "answer": ["2", "two"], "grader": "anls"},
    ]
    path = write(tmp_path, "\n".join(map(json.dumps, lines)) + "\n\n", "data.jsonl")
    rows = read(path).rows
    assert [row.id for row in rows] == ["first", "data_2", "data_3"]
    assert [row.grader.version for row in rows] == ["numeric/1", "choice/1", "anls/1"]
    assert rows[1].reference.options == {"A": "yes", "B": "no"}
    assert rows[2].reference.alternatives == ("2", "two")


def test_every_bad_row_is_named_and_the_good_ones_are_kept(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    path = write(
        tmp_path,
        "dataset_idx,question,answer,img_path,options,grader\n"
        "1,good?,7,a.png,,\n"
        "2,,7,,,\n"
        "3,x?,,,,\n"
        "4,x?,7,gone.png,,\n"
        "5,x?,7,text.png,,\n"
        "6,x?,C,,(A) a (B) b,\n"
        "7,x?,seven,,,numeric:abs=x\n"
        "8,x?,7,,,fuzzy\n"
        "1,x?,7,,,\n"
        "9,x?\n"
        "10,x?,7,,one,\n"
        "11,fine?,7,,,\n",
    )
    found = read(path)
    assert [row.id for row in found.rows] == ["1", "11"]
    said = {bad.number: bad.why for bad in found.bad}
    assert list(said) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    for number, why in {
        2: "the question is empty",
        3: "the answer is empty",
        4: "gone.png: No such file",
        5: "text.png: ",
        6: "none of the options (A, B)",
        7: "'x' is not a number of 0 or more",
        8: "unknown grader 'fuzzy'; known: auto",
        9: "its id '1' is that of row 1 too",
        10: "it has 2 cells, the header 6",
        11: "the options 'one'",
    }.items():
        assert why in said[number]


def test_images_over_a_limit_are_bad_rows(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    path = write(tmp_path, "question,answer,img_path\nx?,7,a.png\n")
    assert "pixels" in read(path, limits=ImageLimits(max_pixels=100)).bad[0].why
    assert "bytes" in read(path, limits=ImageLimits(max_bytes=10)).bad[0].why


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        ("", "d.csv", "column 'question' is missing; found: none"),
        ("question\nx\n", "d.csv", "column 'answer' is missing; found: question"),
        ("question,answer,answer\n", "d.csv", "'answer' appears twice"),
        ("question,answer\n", "d.csv", "without rows"),
        ('question,answer\n"x,7\n', "d.csv", "not a CSV file in UTF-8"),
        ("", "d.jsonl", "without rows"),
    ],
)
def test_a_file_that_is_no_data_set_is_refused(tmp_path: Path, text: str, name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read(write(tmp_path, text, name))


def test_what_is_no_text_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read(tmp_path / "gone.csv")
    (tmp_path / "latin.csv").write_bytes(b"question,answer\n\xe9,1\n")
    with pytest.raises(ConfigError, match="not a CSV file in UTF-8"):
        read(tmp_path / "latin.csv")
    path = write(tmp_path, '{"question": "x?", "answer": "1"}\n[1]\n{broken\n', "d.jsonl")
    assert [bad.number for bad in read(path).bad] == [2, 3]
