"""The newcomer benchmark on the real scores that Loupe carries: outcomes of its own tell more than its price."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.routing import cold_start as newcomer
from routers.table.numeric import load_offline


@pytest.mark.slow
@pytest.mark.parametrize(("table", "name"), [("BlindTest", "Claude-3.5-Sonnet"), ("DynaMath", "Qwen2-VL-72B")])
def test_a_new_candidate_is_forecast_better_after_64_outcomes_than_by_its_price(table: str, name: str) -> None:
    (data,) = [data for data in load_offline().datasets if data.name == table]
    found = {each.shown: each for each in newcomer.measure(data, name, "linear_mf", 0, most_rows=700)}
    assert found[64].brier < found[0].brier - 0.015
    assert found[400].brier < found[0].brier - 0.02
    assert found[400].nauc > found[0].nauc - 0.02


def test_the_report_has_means_and_spreads_and_the_drawing_is_drawn(tmp_path: Path) -> None:
    found = [
        newcomer.Found("t", "n", seed, shown, 0.2 - shown / 4000 + seed / 100, 0.6)
        for seed in (0, 1)
        for shown in newcomer.SHOWN
    ]
    assert "0.2050 ± 0.007" in newcomer.report(found)
    newcomer.plot(found, tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_it_writes_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newcomer, "NEWCOMERS", (("DynaMath", "GPT-4o"),))
    words = ["--json", str(tmp_path / "found.json"), "--seeds", "1", "--rows", "500"]
    assert newcomer.main(words) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert [each["shown"] for each in found["results"]] == list(newcomer.SHOWN)
    assert all(np.isfinite(each["brier"]) for each in found["results"])
