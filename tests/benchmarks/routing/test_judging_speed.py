"""The benchmark of judging: what it measures, and that it says when a goal is missed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.routing import judging_speed as table_speed


def test_it_measures_every_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    words = [
        "--queries",
        "200",
        "--candidates",
        "3",
        "--rounds",
        "2",
        "--replicates",
        "3",
        "--no-fits",
        "--json",
        str(out),
    ]
    assert table_speed.main(words) == 0
    printed = capsys.readouterr().out
    assert "goal 100 ms: met" in printed
    found = json.loads(out.read_text())
    assert found["fits"] is None
    assert len(found["steps"]) == 7
    for step in found["steps"]:
        assert 0 < step["least_ms"] <= step["median_ms"] <= step["greatest_ms"]
        assert step["name"] in printed


def test_the_drawn_table_shares_no_breakpoint() -> None:
    table, forecast = table_speed.drawn(50, 4, 1)
    again, _ = table_speed.drawn(50, 4, 1)
    assert table.digest == again.digest
    assert len(set(forecast.quality.ravel().tolist())) == 200
    assert table.mask.all()
