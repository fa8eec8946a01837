"""`loupe table` as a reader calls it: files in, files out, and one line where something is wrong."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gateway.cli import main
from routers.table.formats import read_table, write_table
from routers.table.outcome_table import OutcomeTable
from routers.table.parquet import CELLS, read_embedded
from tests.fakes.same_table import assert_same_table
from tests.fakes.synthetic import drawn_table, full_table, textual_table
from tests.routers.table.test_routerbench import PLAIN

PRICES = "version: '2026-11'\nprices:\n" + "".join(f"  candidate-{n}: {{input: 1, output: 2}}\n" for n in range(4))


def table(*words: str | Path) -> int:
    return main(["table", *map(str, words)])


def illustrated(folder: Path) -> OutcomeTable:
    """A drawn table of four queries: two of one image, one of an image that is not there, one of text."""
    (folder / "pics").mkdir()
    for name in ("1.png", "2.png"):
        Image.new("RGB", (30, 20)).save(folder / "pics" / name)
    paths = (folder / "pics/1.png", folder / "pics/2.png", folder / "pics/gone.png", None)
    drawn, _ = drawn_table(groups=1)
    return replace(drawn, groups=("a", "b", "c", "d"), image_paths=paths)


def test_import_keeps_every_cell_and_says_what_images_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = illustrated(tmp_path)
    write_table(wanted, tmp_path / "t.csv")
    assert table("import", tmp_path / "t.csv", "--out", tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert printed.out == f"wrote {tmp_path / 'out'}: 4 queries, 4 candidates, 16 cells\n"
    assert "1 image(s) are not there" in printed.err
    found = read_table(tmp_path / "out")
    digest = hashlib.sha256((tmp_path / "pics" / "1.png").read_bytes()).hexdigest()
    facts = {
        "image_sha256": (digest, digest, "", ""),
        "image_width": ("30", "30", "", ""),
        "image_height": ("20", "20", "", ""),
    }
    assert_same_table(found, replace(wanted, details=facts))


def test_import_joins_groups_by_equal_images(tmp_path: Path) -> None:
    write_table(illustrated(tmp_path), tmp_path / "t.csv")
    assert table("import", tmp_path / "t.csv", "--out", tmp_path / "out", "--group-by", "group,image") == 0
    assert read_table(tmp_path / "out").groups == ("a", "a", "c", "d")


def test_origin_marks_observed_cells_that_do_not_say(tmp_path: Path) -> None:
    wanted = full_table(tmp_path)
    source = np.where(wanted.mask, "feedback", "")
    source[3:] = ""
    write_table(replace(wanted, source=source), tmp_path / "t")
    assert table("import", tmp_path / "t", "--out", tmp_path / "out", "--origin", "a benchmark") == 0
    found = read_table(tmp_path / "out").arrays()["source"]
    assert (found[:3] == source[:3]).all()
    assert (found[3:] == np.where(wanted.mask[3:], "a benchmark", "")).all()


def test_stated_sizes_are_left_as_they_are(tmp_path: Path) -> None:
    stated = {"image_width": ("640", "640", "", ""), "image_height": ("480", "480", "", "")}
    write_table(replace(illustrated(tmp_path), details=stated), tmp_path / "t.csv")
    assert table("import", tmp_path / "t.csv", "--out", tmp_path / "out") == 0
    details = read_table(tmp_path / "out").details
    assert {name: details[name] for name in stated} == stated


def test_export_of_an_import_is_what_was_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = full_table(tmp_path)
    write_table(wanted, tmp_path / "t.csv")
    assert table("import", tmp_path / "t.csv", "--out", tmp_path / "deep" / "out") == 0
    assert table("export", tmp_path / "deep" / "out", "--out", tmp_path / "again.csv") == 0
    assert_same_table(read_table(tmp_path / "again.csv"), wanted, notes=False)
    write_table(wanted, tmp_path / "noted")
    capsys.readouterr()
    assert table("export", tmp_path / "noted", "--out", tmp_path / "again.csv") == 0
    assert "has no place for notes" in capsys.readouterr().err


def test_routerbench_goes_in_and_out_as_another_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rb.csv").write_text(PLAIN, newline="")
    wanted = read_table(tmp_path / "rb.csv")
    assert table("import", tmp_path / "rb.csv", "--format", "routerbench", "--out", tmp_path / "out") == 0
    assert_same_table(read_table(tmp_path / "out"), wanted)
    with pytest.raises(SystemExit):
        table("export", tmp_path / "out", "--format", "routerbench", "--out", tmp_path / "a.csv")
    assert "invalid choice: 'routerbench' (choose from 'mmr', 'parquet')" in capsys.readouterr().err
    assert table("export", tmp_path / "out", "--out", tmp_path / "a.parquet") == 1
    assert "a.parquet: a table is written as a .csv file or as a folder" in capsys.readouterr().err


def test_merge_leaves_unseen_cells_missing(tmp_path: Path) -> None:
    whole = textual_table(tmp_path)
    write_table(whole.take(range(10)).select(["candidate-0", "candidate-1"]), tmp_path / "a.csv")
    write_table(whole.take(range(10, 24)).select(["candidate-1", "candidate-2"]), tmp_path / "b")
    assert table("merge", tmp_path / "a.csv", tmp_path / "b", "--out", tmp_path / "both") == 0
    found = read_table(tmp_path / "both")
    assert found.score.shape == (24, 3)
    assert np.isnan(found.score[:10, 2]).all()
    assert found.score[:, 1].tobytes() == whole.score[:, 1].tobytes()


def test_show_says_what_a_table_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score = np.array([[1, 0, np.nan, np.nan], [0.5, 1, np.nan, np.nan], [1, 1, 1, np.nan], [np.nan, 0, np.nan, np.nan]])
    shown = replace(illustrated(tmp_path), score=score, notes={"prices": "v7"}, groups=("a", "a", "c", "d"))
    write_table(shown, tmp_path / "t")
    assert table("show", tmp_path / "t", "--json", tmp_path / "t.json") == 0
    printed = capsys.readouterr().out
    assert "4 queries (3 with an image, 1 text only), 4 distinct questions, 3 distinct images" in printed
    assert "3 groups, the largest of 2" in printed
    assert "4 candidates, 8 cells observed of 16" in printed
    assert "prices: v7" in printed
    rows = {line.split()[0]: line.split()[1:4] for line in printed.splitlines() if line.startswith("candidate-")}
    assert rows["candidate-0"] == ["3", "75.0%", "0.8333"]
    assert rows["candidate-3"] == ["0", "0.0%", "-"]
    assert "best single: candidate-2; best of each query (oracle): 0.7500" in printed
    assert "means are of different things" in printed
    kept = json.loads((tmp_path / "t.json").read_text())
    assert kept["digest"] == shown.digest
    assert kept["candidates"][3]["score"] is None
    assert kept["candidates"][0]["coverage"] == 0.75


def test_show_reads_a_table_without_queries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("dataset_idx,question,a_correct\n")
    assert table("show", tmp_path / "t.csv") == 0
    printed = capsys.readouterr().out
    assert "0 queries" in printed
    assert "best single" not in printed


def test_costs_are_computed_from_versioned_prices(tmp_path: Path) -> None:
    write_table(textual_table(tmp_path), tmp_path / "t.csv")
    drawn, _ = drawn_table(groups=6, missing=0.3)
    write_table(drawn, tmp_path / "t.csv")
    (tmp_path / "prices.yaml").write_text(PRICES)
    words = ("--prices", tmp_path / "prices.yaml", "--input-tokens", "100")
    assert table("import", tmp_path / "t.csv", "--out", tmp_path / "out", *words) == 0
    found = read_table(tmp_path / "out")
    np.testing.assert_array_equal(found.cost_usd, (100 + 2 * drawn.output_tokens) / 1e6)
    assert found.notes["prices"] == "2026-11"
    assert found.notes["input_tokens"].startswith("100 assumed in ")


@pytest.mark.slow
def test_import_keeps_views_with_their_encoder(tmp_path: Path) -> None:
    write_table(illustrated(tmp_path).take([0, 3]), tmp_path / "t.csv")
    words = ("--encoder", "fused-lite", "--embeddings", tmp_path / "kept.npz")
    assert table("import", tmp_path / "t.csv", "--out", tmp_path / "out", *words) == 0
    first = read_embedded(tmp_path / "out")
    assert first is not None
    assert {name: values.shape for name, values in first.views.items()} == {
        "text": (2, 384),
        "image": (2, 384),
        "image_features": (2, 1280),
    }
    assert table("export", tmp_path / "out", "--out", tmp_path / "copy") == 0
    copied = read_embedded(tmp_path / "copy")
    assert copied is not None
    assert copied.views["image"].tobytes() == first.views["image"].tobytes()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["show", "gone.csv"], "gone.csv: No such file"),
        (["show", "."], "is not an outcome table"),
        (["show", "bad.csv"], "bad.csv: row 2, column 'a_correct': 'yes' is not a number"),
        (["show", "t.csv", "--input-tokens", "5"], "--prices, and that is missing"),
        (["show", "t.csv", "--prices", "gone.yaml"], "gone.yaml: No such file"),
        (["show", "t.csv", "--prices", "prices.yaml"], "say how many to assume"),
        (["show", "t.csv", "--prices", "t.csv"], "t.csv: "),
        (["show", "t.csv", "--prices", "few.yaml"], "prices 1: none for 'candidate-1', 'candidate-2', 'candidate-3'"),
        (
            ["show", "t.csv", "--prices", "odd.yaml"],
            "prices.a.input: Input should be greater than or equal to 0, got -1",
        ),
        (["import", "x.pkl", "--out", "out"], "a pickle runs whatever"),
        (["import", "t.csv", "--out", "out", "--embeddings", "e.npz"], "--encoder, whose they are, is missing"),
        (["import", "t.csv", "--out", "out", "--encoder", "tea-leaves"], "tea-leaves"),
        (["import", "t.csv", "--out", "t.csv"], "t.csv: File exists"),
        (["export", "t.csv", "--out", "no/where.csv"], "No such file"),
        (["merge", "t.csv", "other.csv", "--out", "out"], "score of 'candidate-0' for query 'q0' has two different"),
        (["merge", "t.csv", "torn", "--out", "out"], "cells.parquet: not a Parquet file"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    drawn, _ = drawn_table(groups=1)
    write_table(drawn, tmp_path / "t.csv")
    write_table(replace(drawn, score=1 - drawn.score), tmp_path / "other.csv")
    write_table(drawn, tmp_path / "torn")
    (tmp_path / "torn" / CELLS).write_bytes(b"PAR1")
    (tmp_path / "bad.csv").write_text("dataset_idx,question,a_correct\n1,x,1\n2,y,yes\n")
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04.")
    (tmp_path / "prices.yaml").write_text(PRICES)
    (tmp_path / "few.yaml").write_text("version: '1'\nprices: {candidate-0: {input: 0, output: 1}}\n")
    (tmp_path / "odd.yaml").write_text("version: '1'\nprices: {a: {input: -1, output: 1}}\n")
    monkeypatch.chdir(tmp_path)
    assert main(["table", *words]) == 1
    printed = capsys.readouterr()
    assert says in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words", [["import", "t.csv", "--out", "o", "--group-by", "colour"], ["show", "t.csv", "--input-tokens", "-1"], []]
)
def test_words_that_are_off_are_a_usage_error(words: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["table", *words])
    assert raised.value.code == 2
