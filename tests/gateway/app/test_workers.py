"""Worker processes: replaced when they end, tried again when they can not start, and gone with their parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.app.workers import LONGEST_WAIT_S, SHORT_LIFE_S, Workers

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 60.0
SERVES = "import socket, sys; link = socket.socket(fileno=int(sys.argv[2])); link.sendall(b'1'); link.recv(1)"
FAILS = "raise SystemExit(1)"
FOLLOWS = """
import sys, time
from gateway.app.workers import follow_parent
follow_parent(int(sys.argv[2]), lambda: True)
time.sleep(600)
"""
STARTS = """
import socket, sys, time
from gateway.app.workers import Workers
workers = Workers(lambda place, listener, link: [sys.executable, "-c", sys.argv[1], str(listener), str(link)],
    socket.create_server(("127.0.0.1", 0)), 2)
workers.tend(0.0)
print(*workers.processes, flush=True)
time.sleep(600)
"""


class Crew:
    """Workers whose programs a test sets, by place; time goes as the test says."""

    def __init__(self, count: int) -> None:
        self.programs = [SERVES] * count
        self.now = 1_000.0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.workers = Workers(self.command, self.listener, count)

    def command(self, place: int, listener: int, link: int) -> list[str]:
        return [sys.executable, "-S", "-c", self.programs[place], str(listener), str(link)]

    def until(self, is_met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_met():
            assert time.monotonic() < deadline
            self.workers.tend(self.now)
            time.sleep(0.01)

    def serve(self) -> list[int]:
        """Start all, and wait until they serve."""
        self.until(lambda: len(self.started()) == len(self.programs))
        return self.workers.processes

    def started(self) -> list[int]:
        return [each.process.pid for each in self.workers._running.values() if each.has_started]

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.until(lambda: pid not in self.workers.processes)


@pytest.fixture
def crew() -> Iterator[Crew]:
    made = Crew(3)
    yield made
    made.workers.end(0.0)
    made.listener.close()


def test_a_worker_that_is_killed_is_replaced(crew: Crew) -> None:
    first = crew.serve()
    crew.now += SHORT_LIFE_S + 1
    crew.kill(first[1])
    assert len(crew.serve()) == 3
    assert first[0] in crew.workers.processes
    assert first[2] in crew.workers.processes


def test_those_that_serve_go_on_when_a_new_one_can_not_start(crew: Crew) -> None:
    first = crew.serve()
    crew.now += SHORT_LIFE_S + 1
    crew.programs = [FAILS] * 3
    crew.kill(first[0])
    waits = []
    for _ in range(6):
        crew.until(lambda: len(crew.workers.processes) == 2 and crew.workers._wait_until[0] > crew.now)
        waits.append(crew.workers._wait_until[0] - crew.now)
        crew.now = crew.workers._wait_until[0]
        crew.until(lambda: len(crew.workers.processes) == 3)
    assert waits == [5.0, 10.0, 20.0, 40.0, LONGEST_WAIT_S, LONGEST_WAIT_S]
    assert crew.workers.processes[1:] == first[1:]
    assert not crew.workers.is_failed
    crew.until(lambda: len(crew.workers.processes) == 2)
    crew.programs = [SERVES] * 3
    crew.now += LONGEST_WAIT_S
    assert len(crew.serve()) == 3


def test_workers_none_of_which_can_start_are_given_up(crew: Crew) -> None:
    crew.programs = [FAILS] * 3
    crew.until(lambda: crew.workers.is_failed)
    assert crew.workers.processes == []


def test_one_that_fails_while_the_others_still_start_is_tried_again_when_they_serve(crew: Crew) -> None:
    crew.programs[0] = FAILS
    crew.until(lambda: len(crew.started()) == 2 and len(crew.workers.processes) == 2)
    assert not crew.workers.is_failed
    crew.programs[0] = SERVES
    crew.now += SHORT_LIFE_S
    assert len(crew.serve()) == 3


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed() -> None:
    words = [sys.executable, "-c", STARTS, FOLLOWS]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.kill()
    deadline = time.monotonic() + PATIENCE_S
    while any(Path(f"/proc/{pid}").exists() and "Z" not in state_of(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"
