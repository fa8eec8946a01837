"""Work in a process of its own: its result, its errors, and its end when the command is gone."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.scripted_provider import wait_until

SCRIPT = """
import os, select, sys, time
from pathlib import Path
from gateway.cli.outlive import fall_silent, outlive
from gateway.errors import ConfigError

def work(gone):
    {work}

try:
    print(outlive(work))
except ConfigError as error:
    print("error:", error)
"""


def start(work: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(work=work)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ("return {'pid': os.getpid() != os.getppid()}", "{'pid': True}\n"),
        ("raise ConfigError('not so')", "error: not so\n"),
        ("os.kill(os.getpid(), 9)", "error: the process that asks was killed: the same command goes on\n"),
        ("return {'large': 'x' * 200_000}", str({"large": "x" * 200_000}) + "\n"),
    ],
)
def test_what_it_returned_or_raised_comes_back(work: str, said: str) -> None:
    out, err = start(work).communicate(timeout=60)
    assert (out, err) == (said, "")


def test_a_fault_is_shown_where_it_was(tmp_path: Path) -> None:
    out, err = start("raise AssertionError('a fault of ours')").communicate(timeout=60)
    assert "a fault of ours" in err and out.startswith("error: ")


def test_it_learns_that_the_command_was_killed_and_ends_by_itself(tmp_path: Path) -> None:
    began, ended = tmp_path / "began", tmp_path / "ended"
    work = (
        f"Path({str(began)!r}).write_text(str(os.getpid())); select.select([gone], [], []); fall_silent(); "
        f"print('x' * 100_000, flush=True); Path({str(ended)!r}).touch(); return {{}}"
    )
    process = start(work)
    wait_until(lambda: began.exists() and began.read_text() != "", "the work's begin")
    process.kill()
    process.communicate(timeout=60)
    wait_until(ended.exists, "the work's end")
    wait_until(lambda: not is_there(int(began.read_text())), "the process's end")


def test_an_interrupt_reaches_it_once_and_ends_it(tmp_path: Path) -> None:
    began = tmp_path / "began"
    work = f"Path({str(began)!r}).touch(); time.sleep(3_600)"
    process = start(work)
    wait_until(began.exists, "the work's begin")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT and "KeyboardInterrupt" in err


def is_there(pid: int) -> bool:
    """Whether a process runs: not gone, and no zombie that nobody has reaped yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
