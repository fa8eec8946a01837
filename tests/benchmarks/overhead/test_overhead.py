"""The overhead benchmark itself, with tiny counts: it runs, ends what it started, and its audit agrees."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.overhead.__main__ import SUBJECTS, Plan, Result, available, report, run


@pytest.fixture(scope="module")
def result() -> Result:
    return run(replace(Plan(), rounds=1, seconds=5, count=20, connections=(1, 4), subjects=available(SUBJECTS)))


@pytest.mark.slow
def test_every_cell_is_measured(result: Result) -> None:
    assert len(result.cells) == 3 * 2 * len(available(SUBJECTS))
    assert {cell.requests for cell in result.cells} == {20}
    assert all(0 < cell.first_byte_p50_ms <= cell.p50_ms <= cell.p99_ms for cell in result.cells)


@pytest.mark.slow
def test_gateway_did_the_work_that_its_speed_is_measured_of(result: Result) -> None:
    assert result.checks
    assert [check for check in result.checks if not check.holds] == []


@pytest.mark.slow
def test_affinity_of_the_caller_is_given_back(result: Result) -> None:
    assert os.sched_getaffinity(0) >= {result.gateway_core, result.client_core}


@pytest.mark.slow
def test_report_holds_every_cell_and_every_check(result: Result, tmp_path: Path) -> None:
    written = tmp_path / "overhead.json"

    report(Plan(), result, Namespace(json=written, markdown=tmp_path / "overhead.md"), ["--quick"])

    found = json.loads(written.read_text())
    assert found["command"] == "python -m benchmarks.overhead --quick"
    assert len(found["cells"]) == len(result.cells)
    assert len(found["checks"]) == len(result.checks)
    assert "| stream | 4 | loupe |" in (tmp_path / "overhead.md").read_text()
