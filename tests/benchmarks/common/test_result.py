"""What a benchmark does with its result is the same for all of them."""

from __future__ import annotations

import json
import platform
from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks.common.result import bullets, circumstances, command_of, deliver, write_json


def test_a_command_can_be_pasted_into_a_shell() -> None:
    assert command_of("ledger.faults", []) == "python -m benchmarks.ledger.faults"
    assert (
        command_of("ledger.faults", ["--stores", "redis, leases"])
        == "python -m benchmarks.ledger.faults --stores 'redis, leases'"
    )


def test_circumstances_name_command_versions_and_cores() -> None:
    found = circumstances("ledger.throughput", ["--rounds", "1"], ["numpy", "no-such-package"])
    assert found["command"] == "python -m benchmarks.ledger.throughput --rounds 1"
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["no-such-package"] == "not installed"
    assert found["cores"] >= 1


def test_members_are_lines_of_a_list_and_versions_stand_in_words() -> None:
    result = {"versions": {"python": "3.11", "numpy": "2.1"}, "runs": 30, "rows": []}
    assert bullets(result, ("runs", "versions")) == ["* runs: 30", "* versions: python 3.11, numpy 2.1"]


def test_a_result_is_printed_and_written_where_it_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- faults: begin -->\nold\n<!-- faults: end -->\nafter\n")
    deliver(Namespace(json=tmp_path / "r.json", markdown=page), {"runs": 1}, "faults", "| a |")
    assert capsys.readouterr().out == "| a |\n"
    assert json.loads((tmp_path / "r.json").read_text()) == {"runs": 1}
    assert page.read_text() == "before\n<!-- faults: begin -->\n| a |\n<!-- faults: end -->\nafter\n"


def test_nothing_is_written_where_nothing_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deliver(Namespace(json=None, markdown=None), {"runs": 1}, "faults", "| a |")
    write_json(None, {"runs": 1})
    assert capsys.readouterr().out == "| a |\n"
    assert list(tmp_path.iterdir()) == []
