"""Faults, once each where the suite can afford it: both money laws hold, and the table says what was seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.ledger.fault_rig import SET_ASIDE
from benchmarks.ledger.faults import main

SEEN = {
    ("kill -9, answered but not settled", "sqlite"),
    ("kill -9, answered but not settled", "redis"),
    ("full disk", "sqlite"),
    ("full disk", "redis"),
    ("Redis SIGSTOP", "redis"),
    ("Redis SIGSTOP", "redis, leases"),
}


@pytest.mark.slow
def test_money_is_right_after_every_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faults = sorted({fault for fault, _ in SEEN})
    assert main(["--runs", "1", "--faults", *faults, "--json", str(tmp_path / "r.json")]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["laws_hold"] is True
    assert {(row["fault"], row["store"]) for row in result["rows"]} == SEEN
    for row in result["rows"]:
        assert row["overspend_max"] == row["holds_after"] == row["unpaid_max"] == row["errors"] == 0
        set_aside = 2 * SET_ASIDE if row["store"] == "redis, leases" else 0
        assert row["unused_max"] <= set_aside, "a hold that leaks is a budget that cannot be used"
        assert row["unavailable"] > 0 or row["fault"].startswith("kill")
    assert "Both laws hold." in capsys.readouterr().out
