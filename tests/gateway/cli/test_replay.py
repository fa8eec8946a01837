"""`loupe replay` as a command."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from gateway.cli import main
from tests.gateway.providers.replay.tables import write_table


@pytest.mark.slow
def test_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "gateway.cli",
        "replay",
        "--table",
        str(write_table(tmp_path)),
        "--port",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "no model is behind them" in line
        found = re.search(r"http://\S+", line)
        assert found is not None
        with urllib.request.urlopen(f"{found[0]}/models", timeout=60) as answer:
            assert [model["id"] for model in json.load(answer)["data"]] == ["good", "bad"]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) in (0, 130)


def test_missing_table_is_one_line_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--table", str(tmp_path / "gone.csv"), "--port", "1"]) == 1
    assert "cannot read the outcome table" in capsys.readouterr().err


def test_drawn_tasks_stand_in_for_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--drawn", "0", "--port", "0"]) == 1
    assert "--drawn: 0 is not 1 or more" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["replay", "--port", "0"])
    assert "one of the arguments --table --drawn is required" in capsys.readouterr().err
