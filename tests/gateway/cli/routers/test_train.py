"""`loupe train` as a reader calls it: the real encoder, drawn tables, files on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.cli import main
from models.bundle import bundled, read_manifest
from routers.artifact import load
from routers.table.mmr_csv import write_mmr_csv
from tests.fakes.synthetic import drawn_table


def written_table(folder: Path, name: str = "drawn.csv", seed: int = 0) -> Path:
    table, _ = drawn_table(groups=12, missing=0.1, seed=seed)
    table = replace(table, query_ids=tuple(f"{name}-{query_id}" for query_id in table.query_ids))
    write_mmr_csv(table, folder / name)
    return folder / name


def train(*words: str | Path) -> int:
    return main(["train", *map(str, words), "--seeds", "2", "--train", "0.5"])


@pytest.mark.slow
def test_train_judges_writes_and_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = written_table(tmp_path), written_table(tmp_path, "more.csv", seed=1)
    kept = tmp_path / "kept.npz"
    assert train("--table", one, "--table", two, "--out", tmp_path / "out", "--embeddings", kept) == 0
    printed = capsys.readouterr()
    assert "96 queries, 4 candidates" in printed.out
    assert "50% of groups to learn from, seeds 0 to 1" in printed.out
    for word in ("drawn", "more", "nAUC", "QNC", "log-loss", "random", "best_single", "oracle", "ensemble"):
        assert word in printed.out
    assert "encoding texts: 48 of 48" in printed.err
    router = load(tmp_path / "out")
    assert router.encoder_digest == read_manifest(bundled("fused-lite")).digest
    assert router.digest[:12] in printed.out
    assert kept.is_file()


@pytest.mark.slow
def test_train_starts_from_kept_embeddings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--table", written_table(tmp_path), "--out", tmp_path / "out", "--embeddings", tmp_path / "kept.npz")
    words = (*words, "--router", "linear_mf")
    assert train(*words) == 0
    first = load(tmp_path / "out").digest
    capsys.readouterr()
    assert train(*words) == 0
    assert "encoding" not in capsys.readouterr().err
    assert load(tmp_path / "out").digest == first


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--table", "gone.csv"], "gone.csv: No such file"),
        (["--table", "drawn.csv", "--router", "tarot"], "unknown router 'tarot'; known: "),
        (["--table", "drawn.csv", "--encoder", "tea-leaves"], "tea-leaves"),
        (["--table", "drawn.csv", "--table", "drawn.csv"], "two tables are called 'drawn'"),
        (["--table", "drawn.csv", "--seeds", "0"], "--seeds is 1 or more"),
        (["--table", "drawn.csv", "--train", "1.5"], "--train lies between 0 and 1"),
        (["--table", "bare.csv"], "a table without queries"),
        (["--table", "wrong.csv"], "row 1, column 'a_correct': 'yes' is not a number"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    written_table(tmp_path)
    (tmp_path / "bare.csv").write_text("dataset_idx,question,a_correct\n")
    (tmp_path / "wrong.csv").write_text("dataset_idx,question,a_correct\n1,x,yes\n")
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words, "--out", "out"]) == 1
    printed = capsys.readouterr().err
    assert says in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "out").exists()
