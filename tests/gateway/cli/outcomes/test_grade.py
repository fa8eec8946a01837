"""`loupe grade`: labels for logged answers, by known answers, a pattern or a schema; drawn with a known probability."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gateway.cli import main
from gateway.cli.outcomes.grade import is_drawn
from gateway.outcomes.log.schema import content_path, decisions_path
from routers.table.formats import read_table
from tests.gateway.outcomes.log.made import PICTURE, Said, full, keep, rows

NOW = time.time()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "loupe.sqlite"


def asked(number: int, text: str, reply: str, **changes: Any) -> Any:
    """An answered question; without an image unless `pictures` are given."""
    return full(number, text, **{"pictures": (), "reply": Said(reply), "started_at": NOW - 60, **changes})


def grade(store: Path, *words: str | Path) -> int:
    return main(["grade", "--store", str(store), *map(str, words)])


def labels(store: Path) -> dict[str, tuple[float, str, str, float]]:
    """Request -> score, source, version, probability."""
    query = "SELECT request_id, score, source, version, probability FROM labels ORDER BY request_id"
    return {row[0]: tuple(row[1:]) for row in rows(decisions_path(store), query)}


def write(folder: Path, *answers: tuple[str, ...], columns: tuple[str, ...] = ("question", "answer")) -> Path:
    path = folder / "answers.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *answers])
    return path


def test_answers_are_labelled_by_what_is_known_of_their_question(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(
        store,
        asked(1, "How many?", "I see 3 and 4.\nAnswer: 7"),
        asked(2, "How many?", "Answer: 8"),
        asked(3, "Which? (A) this (B) that", "that", candidate="small"),
        asked(4, "Who knows?", "nobody"),
        asked(5, "How many?", "", outcome="client_left"),
        days=1,
    )
    known = write(tmp_path, ("How many?", "7"), ("Which? (A) this (B) that", "B"))
    assert grade(store, "--answers", known) == 0
    assert labels(store) == {
        "req_1": (1.0, "grader:numeric", "numeric/1", 1.0),
        "req_2": (0.0, "grader:numeric", "numeric/1", 1.0),
        "req_3": (1.0, "grader:choice", "choice/1", 1.0),
    }
    assert capsys.readouterr().out.splitlines() == [
        "labelled 3 answers, mean score 0.6667",
        "  large: 2, mean 0.5000",
        "  small: 1, mean 1.0000",
        "skipped 1 of which no right answer is known",
    ]
    assert grade(store, "--answers", known) == 0
    assert len(labels(store)) == 3, "a source's last word stands"


def test_a_question_with_an_image_is_another_question(store: Path, tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    picture = (tmp_path / "a.png").read_bytes()
    keep(
        store,
        asked(1, "How many?", "7", pictures=(picture,)),
        asked(2, "How many?", "7", pictures=(PICTURE,)),
        asked(3, "How many?", "7"),
        days=1,
    )
    columns = ("question", "answer", "img_path")
    assert grade(store, "--answers", write(tmp_path, ("How many?", "7", "a.png"), columns=columns)) == 0
    assert list(labels(store)) == ["req_1"]
    assert grade(store, "--answers", write(tmp_path, ("How many?", "9"))) == 0
    assert labels(store)["req_3"][0] == 0.0 and "req_2" not in labels(store)
    with closing(sqlite3.connect(content_path(store))) as db, db:
        db.execute("DELETE FROM pictures")
    assert grade(store, "--answers", tmp_path / "answers.csv", "--seed", "1") == 0
    sources = rows(decisions_path(store), "SELECT request_id FROM labels WHERE source = 'grader:numeric:1'")
    assert sources == [("req_3",)], "without its picture a question is not taken for one of text"


def test_one_pattern_or_schema_judges_every_answer(store: Path, tmp_path: Path) -> None:
    keep(store, asked(1, "JSON?", '{"a": 1}'), asked(2, "JSON!", '{"a": "x"}'), days=1)
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"type": "object", "properties": {"a": {"type": "integer"}}}), encoding="utf-8")
    assert grade(store, "--expected", f"@{schema}", "--grader", "json_schema") == 0
    assert labels(store) == {
        "req_1": (1.0, "grader:json_schema", "json_schema/2", 1.0),
        "req_2": (0.0, "grader:json_schema", "json_schema/2", 1.0),
    }
    assert grade(store, "--expected", "x", "--grader", "regex") == 0
    assert sorted(row[0] for row in rows(decisions_path(store), "SELECT score FROM labels")) == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.slow
def test_without_jsonschema_the_text_says_how_to_get_it(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['jsonschema'] = None\n"
        "from gateway.cli import main\n"
        "sys.exit(main(['grade', '--store', 'x.sqlite', '--expected', '{}', '--grader', 'json_schema']))"
    )
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=path, capture_output=True, text=True)
    assert done.stderr == "loupe grade: the json_schema grader needs jsonschema: pip install 'loupe-gateway[grade]'\n"
    assert done.returncode == 1


def test_a_sample_keeps_its_probability_and_a_larger_one_adds_to_it(store: Path, tmp_path: Path) -> None:
    keep(store, *[asked(number, "How many?", "7") for number in range(300)], days=1)
    known = write(tmp_path, ("How many?", "7"))
    assert grade(store, "--answers", known, "--sample", "0.2") == 0
    few = labels(store)
    assert 30 < len(few) < 90
    assert {label[3] for label in few.values()} == {0.2}
    assert grade(store, "--answers", known, "--sample", "0.5") == 0
    more = labels(store)
    assert few.keys() < more.keys() and {label[3] for label in more.values()} == {0.5}
    assert grade(store, "--answers", known, "--sample", "0.1") == 0
    assert labels(store) == more, "what was drawn at 0.5 was as likely as that, whatever is drawn later"
    assert grade(store, "--answers", known, "--sample", "0.2", "--seed", "1") == 0
    assert {row[0] for row in rows(decisions_path(store), "SELECT DISTINCT source FROM labels")} == {
        *("grader:numeric", "grader:numeric:1")
    }
    assert main(["table", "export", "--store", str(store), "--out", str(tmp_path / "out"), "--all"]) == 0
    assert read_table(tmp_path / "out").weight is not None


def test_draws_are_fair_and_of_their_seed() -> None:
    ids = [f"req_{number}" for number in range(20_000)]
    drawn = [is_drawn(request, 0.3, 1) for request in ids]
    assert 0.29 < sum(drawn) / len(ids) < 0.31
    both = sum(is_drawn(request, 0.3, 2) for request, was in zip(ids, drawn, strict=True) if was)
    assert 0.27 < both / sum(drawn) < 0.33
    assert all(is_drawn(request, 1.0, 0) for request in ids)


def test_range_and_tenant_choose_what_is_labelled_and_old_answers_are_passed_over(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(
        store,
        asked(1, "How many?", "7", tenant="a"),
        asked(2, "How many?", "7", tenant="b"),
        asked(3, "How many?", "7", tenant="a", started_at=NOW - 86_400),
        asked(4, "How many?", "7", tenant="a", started_at=NOW - 31 * 86_400),
        asked(5, "How many?", "7" * 70_000, tenant="a"),
        days=1,
    )
    known = write(tmp_path, ("How many?", "7"))
    assert grade(store, "--answers", known, "--tenant", "a", "--since", "1h") == 0
    assert list(labels(store)) == ["req_1"]
    assert grade(store, "--answers", known) == 0
    assert list(labels(store)) == ["req_1", "req_2", "req_3"]
    out = capsys.readouterr().out
    assert "skipped 1 too old to be labelled" in out and "skipped 1 whose end was not recorded" in out


@pytest.mark.slow
def test_a_pattern_that_takes_for_ever_is_cut_off(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(store, asked(1, "x?", "a" * 5_000), asked(2, "x?", "b"), days=1)
    assert grade(store, "--expected", "(a+)+b|^b", "--grader", "regex") == 0
    assert list(labels(store)) == ["req_2"]
    assert "skipped 1 that took a grader too long" in capsys.readouterr().out


def test_what_can_not_be_graded_is_said(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert grade(store, "--expected", "x", "--grader", "exact") == 1
    assert "is not there (is `content` kept by this gateway?)" in capsys.readouterr().err
    keep(store, asked(1, "How many?", "7"))
    assert grade(store, "--expected", "x", "--grader", "exact") == 1
    assert "loupe-content.sqlite is not there" in capsys.readouterr().err
    assert grade(store, "--expected", "(", "--grader", "regex") == 1
    assert "--expected: '(' is not a regular expression" in capsys.readouterr().err
    twice = write(tmp_path, ("How many?", "7"), ("How many?", "8"), ("Who?", ""))
    assert grade(store, "--answers", twice) == 1
    error = capsys.readouterr().err
    assert "2 bad row(s)" in error and "row 3: the answer is empty" in error
    assert "row 2: an earlier row asks the same and has another answer" in error
