"""The ledger benchmark measures every store at every number of processes, and holds the money against the windows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.ledger.throughput import main


@pytest.mark.slow
def test_every_store_is_measured_and_written_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--pairs", "80", "--processes", "1", "2", "--rounds", "1", "--json", str(tmp_path / "r.json")]
    assert main(words) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["laws_hold"] is True
    assert result["command"].startswith("python -m benchmarks.ledger.throughput --pairs 80")
    assert [(row["store"], row["processes"]) for row in result["rows"]] == [
        (store, processes) for store in ("sqlite", "redis", "memory") for processes in (1, 2)
    ]
    for row in result["rows"]:
        assert row["pairs_per_second"][0] > 0
        assert 0 < row["p50_ms"][0] <= row["p99_ms"][0]
    assert "DO NOT HOLD" not in capsys.readouterr().out
