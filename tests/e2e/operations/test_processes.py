"""Waiting for a command: it is seen at once that it has ended, and what it wrote is shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness.processes import Command

SCRIPT = "import sys; print('serving', flush=True); sys.stdin.read(); print('the port is taken'); sys.exit(3)"


def started(log: Path) -> Command:
    """It says `serving`, and ends with 3 when its input does."""
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-S", "-c", SCRIPT], stdin=subprocess.PIPE, stdout=output)
    return Command(process, log)


def test_who_waits_for_a_command_that_ended_fails_at_once_with_its_log(tmp_path: Path) -> None:
    command = started(tmp_path / "log")
    command.until(lambda: "serving" in command.text, "its word")
    command.process.communicate()
    command.until(lambda: "the port is taken" in command.text, "its last word")
    with pytest.raises(AssertionError, match=r"(?s)ended with 3 before the port\n.*the port is taken"):
        command.until(lambda: "http://" in command.text, "the port", 3_600)


def test_who_waits_too_long_for_a_command_that_runs_is_shown_its_log(tmp_path: Path) -> None:
    command = started(tmp_path / "log")
    command.until(lambda: "serving" in command.text, "its word")
    with pytest.raises(AssertionError, match=r"(?s)not within 0.01 s: the port.*serving"):
        command.until(lambda: "http://" in command.text, "the port", 0.01)
    command.process.communicate()
