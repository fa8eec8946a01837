"""The race for a budget, small: nothing overspent, nothing refused that could be paid, and all of it written down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.ledger.race import main


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_budget_pays_for_exactly_so_many(store: str, tmp_path: Path) -> None:
    words = ["--store", store, "--workers", "2", "--clients", "16", "--requests", "200", "--payable", "80"]
    assert main([*words, "--json", str(tmp_path / "r.json")]) == 0
    found = json.loads((tmp_path / "r.json").read_text())
    assert (found["answered"], found["refused"]) == (80, 120)
    assert found["overspend_usd"] == found["false_refusals"] == found["holds_after_usd"] == found["errors"] == 0
