"""The table benchmark measures every step, holds what is read against what was written, and writes it down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.routing.table_io import drawn, main


def test_drawn_table_is_the_same_for_the_same_seed() -> None:
    assert drawn(50, 3, 1).digest == drawn(50, 3, 1).digest != drawn(50, 3, 2).digest


def test_every_step_is_measured_and_written_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--queries", "60", "--candidates", "3", "--rounds", "2", "--json", str(tmp_path / "r.json")]
    assert main(words) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["exact"] is True
    assert result["command"].startswith("python -m benchmarks.routing.table_io --queries 60")
    assert result["seed"] == 1
    assert set(result["versions"]) == {"python", "loupe", "numpy", "pyarrow"}
    assert [step["name"] for step in result["steps"]][:4] == ["write CSV", "read CSV", "write Parquet", "read Parquet"]
    assert all(0 < step["least_s"] <= step["median_s"] <= step["greatest_s"] for step in result["steps"])
    assert "exact sweep" in capsys.readouterr().out
