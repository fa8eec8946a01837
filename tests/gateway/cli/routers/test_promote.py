"""`loupe promote`, `rollback` and `artifacts` as an operator calls them: the real encoder, files on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.cli import main
from models.base import Encoder
from routers.algorithms.linear import Linear
from routers.artifact import NUMBERS, Provenance, save
from routers.artifact_store import ArtifactStore
from routers.forecasting.head import HeadAlgorithm
from tests.fakes.artifacts import written_artifact
from tests.fakes.encoder import FakeEncoder
from tests.fakes.synthetic import drawn_table
from tests.gateway.config.test_settings import GOOD
from tests.models.loaded import fused_lite

ONE, TWO = {"small": 0.2, "large": 0.6}, {"small": 0.5, "large": 0.4}


@pytest.fixture
def encoder() -> Encoder:
    return fused_lite()


def call(*words: str | Path) -> int:
    return main(list(map(str, words)))


@pytest.mark.slow
def test_what_is_promoted_serves_is_listed_and_is_rolled_back(
    tmp_path: Path, encoder: Encoder, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = (written_artifact(tmp_path / name, means, encoder) for name, means in (("1", ONE), ("2", TWO)))
    where = ("--artifacts", tmp_path / "kept")
    assert call("promote", tmp_path / "1", *where) == 0
    assert call("promote", tmp_path / "2", *where) == 0
    assert call("promote", two[:6], *where) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"{one[:12]} is in service, after the router of the configuration",
        f"{two[:12]} is in service, after {one[:12]}",
        f"{two[:12]} is in service already",
    ]
    assert call("artifacts", *where, "--json", tmp_path / "found.json") == 0
    lines = {line.split()[0 if line[0] == " " else 1]: line for line in capsys.readouterr().out.splitlines() if line}
    assert lines[two[:12]].startswith("*") and "best_single" in lines[one[:12]]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["in_service"] == two
    assert [each["header"]["candidates"] for each in found["artifacts"]] == [["small", "large"]] * 2
    assert call("rollback", *where) == 0
    assert ArtifactStore(tmp_path / "kept").pointer().digest == one
    assert call("rollback", *where) == 0
    assert call("rollback", *where) == 1
    assert "nothing was promoted" in capsys.readouterr().err


def test_a_router_of_another_encoder_is_refused(
    tmp_path: Path, encoder: Encoder, capsys: pytest.CaptureFixture[str]
) -> None:
    written_artifact(tmp_path / "1", ONE, FakeEncoder())
    assert call("promote", tmp_path / "1", "--artifacts", tmp_path / "kept") == 1
    assert f"trained on the encoder {FakeEncoder.digest[:12]}, and fused-lite is" in capsys.readouterr().err
    assert ArtifactStore(tmp_path / "kept").versions() == []


@pytest.mark.slow
def test_a_router_of_other_views_is_refused(
    tmp_path: Path, encoder: Encoder, capsys: pytest.CaptureFixture[str]
) -> None:
    table, drawn = drawn_table(groups=10)
    router = HeadAlgorithm(Linear).fit(table, {"text": drawn["text"]}, encoder_digest=encoder.digest)
    save(router, tmp_path / "1", Provenance(encoder.name, table.digest))
    assert call("promote", tmp_path / "1", "--artifacts", tmp_path / "kept") == 1
    assert "needs the view 'text' of 12 numbers; fused-lite gives 384" in capsys.readouterr().err


@pytest.mark.slow
def test_a_tampered_file_is_refused_and_listed_as_broken(
    tmp_path: Path, encoder: Encoder, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = written_artifact(tmp_path / "1", ONE, encoder)
    where = ("--artifacts", tmp_path / "kept")
    assert call("promote", tmp_path / "1", *where) == 0
    for folder in (tmp_path / "1", tmp_path / "kept" / digest[:12]):
        numbers = bytearray((folder / NUMBERS).read_bytes())
        numbers[len(numbers) // 2] ^= 1
        (folder / NUMBERS).write_bytes(numbers)
    capsys.readouterr()
    for named in (tmp_path / "1", digest[:12]):
        assert call("promote", named, *where) == 1
        assert "altered or cut short" in capsys.readouterr().err
    assert call("artifacts", *where) == 1
    assert "altered or cut short" in capsys.readouterr().out


@pytest.mark.slow
def test_by_a_configuration_candidates_without_a_column_are_said(
    tmp_path: Path, encoder: Encoder, capsys: pytest.CaptureFixture[str]
) -> None:
    written_artifact(tmp_path / "1", {"small": 0.2}, encoder)
    raw: dict[str, Any] = {**GOOD, "router": {"artifacts": str(tmp_path / "kept")}}
    (tmp_path / "gateway.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    assert call("promote", tmp_path / "1", "--config", tmp_path / "gateway.yaml") == 0
    said = capsys.readouterr().err
    names = [each["name"] for each in raw["candidates"] if each["name"] != "small"]
    assert names
    assert all(f"no column for {name}" in said for name in names)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["promote", "x"], "say either --config FILE, or --artifacts DIR"),
        (["artifacts", "--artifacts", "a", "--config", "b"], "say either"),
        (["promote", "nothing", "--artifacts", "none"], "no artifact with the id 'nothing'"),
    ],
)
def test_words_that_can_not_be_used_are_said(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*words) == 1
    assert why in capsys.readouterr().err
