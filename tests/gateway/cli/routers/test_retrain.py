"""`loupe retrain` as an operator calls it: the real encoder, tables on disk, exit statuses for scripts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gateway.cli import main
from gateway.cli.routers.retrain import NOT_BETTER
from routers.artifact import load
from routers.artifact_store import ArtifactStore
from routers.table.formats import read_table, write_table
from routers.table.outcome_table import OutcomeTable
from routers.table.parquet import TableVectors
from tests.fakes.artifacts import written_artifact
from tests.models.loaded import fused_lite

pytestmark = pytest.mark.slow

KINDS = {
    "Read the number on this receipt.": (0.95, 0.9),
    "Prove that the two triangles are similar.": (0.1, 0.9),
    "Which bar of the chart is highest?": (0.9, 0.85),
    "What is the area of the shaded ring, in square inches?": (0.05, 0.8),
}
"""A text, and the chances of the cheap and of the dear candidate: easy ones need not be paid for."""


def asked(folder: Path, name: str, count: int, *, upside_down: bool = False, seed: int = 0) -> Path:
    """A table of `count` queries of these kinds, each a group of its own."""
    random = np.random.default_rng(seed)
    kinds = [tuple(KINDS)[number % len(KINDS)] for number in range(count)]
    chances = np.array([KINDS[kind] for kind in kinds])
    score = (random.random(chances.shape) < (1 - chances if upside_down else chances)).astype(np.float64)
    tokens = np.round(np.exp(4 + 0.2 * random.standard_normal(score.shape)))
    table = OutcomeTable(
        query_ids=tuple(f"{name}{number}" for number in range(count)),
        groups=tuple(f"{name}{number}" for number in range(count)),
        questions=tuple(f"{kind} ({name}, {number})" for number, kind in enumerate(kinds)),
        image_paths=(None,) * count,
        candidates=("small", "large"),
        score=score,
        output_tokens=tokens,
        cost_usd=tokens * [1e-6, 3e-5],
    )
    write_table(table, folder / name)
    return folder / name


def retrain(*words: str | Path) -> int:
    return main(["retrain", "--router", "linear_mf", "--replicates", "200", *map(str, words)])


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """A shelf with a router in service that takes every query to be alike."""
    found = ArtifactStore(tmp_path / "artifacts")
    written_artifact(tmp_path / "alike", {"small": 0.5, "large": 0.86}, fused_lite())
    found.promote(found.add(tmp_path / "alike"), "monday")
    return found


def test_what_is_better_is_promoted_and_reported(
    tmp_path: Path, store: ArtifactStore, capsys: pytest.CaptureFixture[str]
) -> None:
    before = store.pointer().digest
    table = asked(tmp_path, "asked", 320)
    report, found = tmp_path / "report", tmp_path / "found.json"
    words = ("--table", table, "--artifacts", store.folder, "--holdout", "0.4")
    assert retrain(*words, "--promote", "--report", report, "--json", found) == 0
    said = capsys.readouterr().out
    after = store.pointer()
    assert after.digest not in (None, before)
    assert after.history[-1].by == "retrain"
    assert f"{after.digest[:12]} is in service, after {before[:12]}" in said
    assert "note: the router in service does not say what it learned from" in said
    wrote = json.loads(found.read_text())
    assert (wrote["digest"], wrote["in_service"], wrote["promoted"]) == (after.digest, before, True)
    assert wrote["after"]["nauc"] - wrote["before"]["nauc"] == pytest.approx(wrote["difference"], abs=2e-6)
    assert wrote["low"] > 0
    assert sorted(path.name for path in report.iterdir()) == ["frontier-asked.png", "report.html", "report.md"]
    assert "retrained" in (report / "report.md").read_text() and "<svg" in (report / "report.html").read_text()
    assert load(store.path(after.digest)).digest == after.digest

    assert retrain(*words, "--promote") == NOT_BETTER, "it knows every query by now, and better is nobody"
    said = capsys.readouterr().out
    assert "refused: not better" in said and "figures look better than they are" in said
    assert store.pointer().digest == after.digest


def test_a_bad_artifact_that_is_offered_is_refused(
    tmp_path: Path, store: ArtifactStore, capsys: pytest.CaptureFixture[str]
) -> None:
    upside_down = asked(tmp_path, "bad", 120, upside_down=True)
    assert (
        main(
            [
                "train",
                "--router",
                "linear_mf",
                "--table",
                str(upside_down),
                "--out",
                str(tmp_path / "bad-router"),
                "--seeds",
                "1",
                "--train",
                "0.5",
            ]
        )
        == 0
    )
    words = ("--table", asked(tmp_path, "asked", 200, seed=1), "--artifacts", store.folder)
    assert retrain(*words, "--offer", tmp_path / "bad-router", "--promote") == NOT_BETTER
    assert "refused: not better" in capsys.readouterr().out
    assert len(store.versions()) == 1


def test_views_that_a_table_holds_are_not_encoded_again(
    tmp_path: Path, store: ArtifactStore, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = fused_lite()
    path = asked(tmp_path, "asked", 200)
    assert retrain("--table", path, "--artifacts", store.folder, "--json", tmp_path / "one.json") == 0
    assert "encoding texts" in capsys.readouterr().err
    table = read_table(path)
    views = encoder.encode_texts(table.questions) | {
        name: np.zeros((len(table), width), dtype=np.float32) for name, width in encoder.image_dims.items()
    }
    bare = replace(table, questions=("",) * len(table))
    write_table(bare, tmp_path / "bare", embedded=TableVectors(encoder.digest, views))
    assert retrain("--table", tmp_path / "bare", "--artifacts", store.folder, "--json", tmp_path / "two.json") == 0
    assert "encoding" not in capsys.readouterr().err
    one, two = (json.loads((tmp_path / name).read_text())["after"]["nauc"] for name in ("one.json", "two.json"))
    assert two == pytest.approx(one, abs=0.02), "half precision"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--promote"], "--promote needs --config FILE or --artifacts DIR"),
        (["--holdout", "1"], "--holdout is 1; it lies between 0 and 1"),
        (["--weights", "2"], "--weights is 2"),
        (["--router", "none"], "unknown router 'none'"),
        (["--replicates", "3"], "--replicates is 3"),
        (["--json", "nowhere/found.json"], "the folder nowhere does not exist"),
    ],
)
def test_words_that_can_not_be_used_are_said(
    tmp_path: Path, words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert retrain("--table", asked(tmp_path, "asked", 12), *words) == 1
    assert why in capsys.readouterr().err
