"""`loupe table export --store`: decisions and labels as an outcome table, each cell weighted by how it came about."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.cli import main
from gateway.outcomes.label import Label
from gateway.outcomes.log.labels import put_labels
from gateway.outcomes.log.schema import decisions_path
from gateway.pipeline.record import Attempt, RequestRecord
from routers.table.formats import read_table
from routers.table.outcome_table import OutcomeTable
from routers.table.parquet import read_embedded
from tests.fakes.same_table import assert_same_table
from tests.gateway.outcomes.log.made import PICTURE, Encodings, Said, drawn, full, keep, log_at, sha256

OTHER = b"\x89PNG\r\n\x1a\n" + b"another picture"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "loupe.sqlite"


def export(store: Path, out: Path, *words: str) -> OutcomeTable:
    assert main(["table", "export", "--store", str(store), "--out", str(out), *words]) == 0
    return read_table(out)


def label(store: Path, *labels: Label) -> None:
    put_labels(decisions_path(store), list(labels), full().started_at + 100)


def by_id(table: OutcomeTable, request_id: str) -> dict[str, Any]:
    """The row's one cell, and its details."""
    row = table.query_ids.index(request_id)
    [column] = np.flatnonzero(~np.isnan(table.output_tokens[row]))
    found: dict[str, Any] = {name: values[row, column] for name, values in table.arrays().items()}
    details = {name: values[row] for name, values in table.details.items()}
    return {"candidate": table.candidates[column], "group": table.groups[row], **found, **details}


def test_a_cell_weighs_one_over_its_propensity_and_its_labels_probability(store: Path, tmp_path: Path) -> None:
    exploration = drawn("large", "small", 0.2)
    decision = full().decision
    assert decision is not None
    first, second = decision.choices
    explored = decision._replace(choices=(second, first), propensity=0.2)
    keep(store, full(1, candidate="small", exploration=exploration, decision=explored, propensity=0.2), full(2))
    label(store, Label("req_1", 0.75, "grader", "v1", probability=0.5), Label("req_2", 1.0, probability=0.25))
    table = export(store, tmp_path / "out")
    assert table.candidates == ("small", "large", "blind")
    one, two = by_id(table, "req_1"), by_id(table, "req_2")
    assert (one["candidate"], one["decided"], one["propensity"], one["label_probability"]) == (
        "small",
        "drawn",
        "0.2",
        "0.5",
    )
    assert one["weight"] == pytest.approx(1 / (0.2 * 0.5))
    assert (one["score"], one["source"]) == (0.75, "grader@v1")
    assert (one["input_tokens"], one["output_tokens"], one["latency_s"]) == (111, 22, 0.5)
    assert one["cost_usd"] == pytest.approx(0.001234567)
    assert (two["candidate"], two["decided"], two["weight"], two["source"]) == ("large", "determined", 4.0, "client")


def test_what_no_policy_drew_is_marked_and_never_weighted(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = (Attempt("large", "timeout", 0), Attempt("small", None, 5))
    keep(
        store,
        full(1, reason="pinned"),
        full(2, reason="declined:encoder_timeout"),
        full(3, candidate="small", attempts=failed, reason="routed;fallback=large:timeout"),
        full(4, candidate="small"),  # the first choice's hold did not fit
        full(5),
        full(6),
    )
    label(store, *[Label(f"req_{number}", 1.0) for number in range(1, 6)])
    table = export(store, tmp_path / "out")
    assert [(by_id(table, f"req_{n}")["decided"], by_id(table, f"req_{n}")["propensity"]) for n in range(1, 6)] == [
        ("pinned", ""),
        ("declined", ""),
        ("failed_over", ""),
        ("failed_over", ""),
        ("determined", "1.0"),
    ]
    weights = [float(by_id(table, f"req_{number}")["weight"]) for number in range(1, 6)]
    assert np.isnan(weights[:4]).all()
    assert weights[4] == 1.0
    assert table.notes["decisions"] == "1 declined, 1 determined, 2 failed_over, 0 not_embedded, 1 pinned, 1 unlabelled"
    said = capsys.readouterr().out
    assert "2  failed over to another choice: no weight" in said
    assert "1  answered without a label" in said


def test_decisions_without_a_label_come_along_when_they_are_asked_for(store: Path, tmp_path: Path) -> None:
    keep(store, full(1), full(2))
    label(store, Label("req_1", 1.0))
    table = export(store, tmp_path / "out", "--all")
    assert table.query_ids == ("req_1", "req_2")
    row = by_id(table, "req_2")
    assert np.isnan(row["score"]) and np.isnan(row["weight"])
    assert row["output_tokens"] == 22


def test_the_newest_label_counts_unless_sources_are_named(store: Path, tmp_path: Path) -> None:
    keep(store, full(1), full(2))
    at = full().started_at
    put_labels(decisions_path(store), [Label("req_1", 0.1, "client"), Label("req_2", 0.3, "client")], at + 1)
    put_labels(decisions_path(store), [Label("req_1", 0.9, "grader")], at + 2)
    assert by_id(export(store, tmp_path / "a"), "req_1")["score"] == 0.9
    assert by_id(export(store, tmp_path / "b", "--label-source", "client"), "req_1")["score"] == 0.1
    only = export(store, tmp_path / "c", "--label-source", "grader")
    assert only.query_ids == ("req_1",)
    both = export(store, tmp_path / "d", "--label-source", "grader", "--label-source", "client")
    assert [by_id(both, name)["score"] for name in both.query_ids] == [0.9, 0.3]


def test_range_and_tenant_choose_the_decisions(store: Path, tmp_path: Path) -> None:
    at = full().started_at  # 2023-11-14T22:13:20.25Z
    keep(store, *[full(n, started_at=at + 60 * n, tenant=f"t{n % 2}") for n in range(6)])
    label(store, *[Label(f"req_{number}", 1.0) for number in range(6)])
    words = ("--since", "2023-11-14T22:14:20Z", "--until", "2023-11-14T22:17:20+00:00", "--tenant", "t1")
    assert export(store, tmp_path / "out", *words).query_ids == ("req_1", "req_3")
    assert main(["table", "export", "--store", str(store), "--since", "1h", "--out", str(tmp_path / "none")]) == 1


def test_what_shares_a_content_or_an_image_shares_a_group(store: Path, tmp_path: Path) -> None:
    third = PICTURE + b"3"
    keep(
        store,
        full(1, "a", pictures=(PICTURE,)),
        full(2, "b", pictures=(PICTURE, OTHER)),
        full(3, "c", pictures=(OTHER,)),
        full(4, "d", pictures=(third,)),
        full(5, "e", pictures=()),
        full(6, "e", pictures=()),
        full(7, "f", pictures=()),
    )
    label(store, *[Label(f"req_{number}", 1.0) for number in range(1, 8)])
    groups = export(store, tmp_path / "out").groups
    assert groups[0] == groups[1] == groups[2]
    assert groups[4] == groups[5]
    assert len({groups[0], groups[3], groups[4], groups[6]}) == 4


def test_without_content_the_embedding_serves_and_the_text_is_empty(store: Path, tmp_path: Path) -> None:
    keep(store, full(1), full(2, "another question", pictures=()))
    label(store, Label("req_1", 1.0), Label("req_2", 0.0))
    table = export(store, tmp_path / "out")
    assert table.questions == ("", "")
    assert table.image_paths == (None, None)
    assert table.details["image_sha256"] == (sha256(), "")
    assert table.details["image_width"] == ("640", "")
    embedded = read_embedded(tmp_path / "out")
    assert embedded is not None and embedded.encoder_digest == "encoder-1"
    assert embedded.views["text"].tolist() == [[9, 0.5, -1.25], [16, 0.5, -1.25]]
    assert embedded.views["image"].tolist() == [[1, 2], [0, 2]]


def test_with_content_texts_and_images_come_along(store: Path, tmp_path: Path) -> None:
    keep(store, full(1, reply=Said()), full(2, "another question", pictures=(OTHER,)), days=30)
    label(store, Label("req_1", 1.0), Label("req_2", 0.0))
    table = export(store, tmp_path / "out")
    assert table.questions == ("how many?", "another question")
    assert [path.read_bytes() for path in table.image_paths if path is not None] == [PICTURE, OTHER]
    assert read_table(tmp_path / "out" / "outcomes.csv").image_paths == table.image_paths


def test_rows_that_another_encoder_embedded_or_none_are_left_out_and_counted(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with log_at(store, encodings=Encodings(unknown=("lost",))) as log:
        for number, text in enumerate(("a", "b", "lost")):
            log.observe(full(number, text))
    with log_at(store, encodings=Encodings(digest="encoder-0")) as log:
        log.observe(full(3, "old"))
    label(store, *[Label(f"req_{number}", 1.0) for number in range(4)])
    assert export(store, tmp_path / "out").query_ids == ("req_0", "req_1")
    assert "2  left out, because they have no embedding" in capsys.readouterr().out
    assert len(export(store, tmp_path / "all", "--no-embeddings")) == 4
    assert read_embedded(tmp_path / "all") is None


def test_logs_of_several_machines_are_one_table(tmp_path: Path) -> None:
    stores = [tmp_path / "a.sqlite", tmp_path / "b.sqlite"]
    for number, store in enumerate(stores):
        keep(store, full(number, reply=Said()), days=30)
        label(store, Label(f"req_{number}", 1.0))
    words = ["table", "export", "--out", str(tmp_path / "out"), "--store", str(stores[0])]
    assert main([*words, str(decisions_path(stores[1]))]) == 0  # the log itself will do, too
    table = read_table(tmp_path / "out")
    assert table.query_ids == ("req_0", "req_1")
    assert table.questions == ("how many?", "how many?")


def test_export_and_import_give_the_source_back(store: Path, tmp_path: Path) -> None:
    """A source of one observed cell a query, served, labelled, exported and read: Parquet and CSV agree with it."""
    draw = random.Random(7)
    names = ("large", "small")
    source = [
        (f"req_{n:04}", draw.randrange(2), draw.random(), draw.randrange(1, 500), draw.randrange(10**9))
        for n in range(300)
    ]
    keep(store, *[_served(number, row, names) for number, row in enumerate(source)])
    label(store, *[Label(row[0], row[2]) for row in source])
    table = export(store, tmp_path / "out")
    assert table.query_ids == tuple(row[0] for row in source)
    for name, place, unit in (("score", 2, 1.0), ("output_tokens", 3, 1.0), ("cost_usd", 4, 1e-9)):
        expected = np.full((len(source), 3), np.nan)
        for row, cell in enumerate(source):
            expected[row, table.candidates.index(names[cell[1]])] = cell[place] * unit
        np.testing.assert_allclose(table.arrays()[name], expected, rtol=1e-15)
    assert_same_table(read_table(tmp_path / "out" / "outcomes.csv"), replace(table, notes={}))
    assert main(["table", "import", str(tmp_path / "out"), "--out", str(tmp_path / "again")]) == 0
    assert_same_table(read_table(tmp_path / "again"), table)
    assert main(["table", "export", str(tmp_path / "out"), "--out", str(tmp_path / "again.csv")]) == 0


def _served(number: int, row: Sequence[Any], names: Sequence[str]) -> RequestRecord:
    request_id, column, _, tokens, cost = row
    made = full(0, f"question {number}", pictures=(), candidate=names[column], output_tokens=tokens, cost=cost)
    return made._replace(request_id=request_id, started_at=made.started_at + number)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["table", "export", "--out", "x"], "a table, or --store"),
        (["table", "export", "here.csv", "--store", "there.sqlite", "--out", "x"], "a table, or --store"),
        (["table", "export", "--store", "there.sqlite", "--out", "x"], "there.sqlite is not there"),
    ],
)
def test_what_can_not_be_exported_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    assert said in capsys.readouterr().err


def test_a_moment_that_is_none_is_told(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["table", "export", "--store", str(store), "--since", "soon", "--out", "x"])
    assert "'soon'" in capsys.readouterr().err
