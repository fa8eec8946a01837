"""Processes that a benchmark starts: pinned to a core, frozen while another is measured, and ended by their id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

STARTS_WITHIN_S = 300.0
ENDS_WITHIN_S = 35.0
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class DidNotStart(Exception):
    """A process ended or did not answer when it should have served."""


class Pinned:
    """A child process on one core, or on any core (None). Its output goes to `log`."""

    def __init__(
        self,
        command: Sequence[str],
        core: int | None,
        log: Path,
        *,
        cwd: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.command = list(command)
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                preexec_fn=None if core is None else partial(os.sched_setaffinity, 0, {core}),  # before it has threads
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def freeze(self) -> None:
        """Stop the whole process, including its timers and threads."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """Return the processor time of all threads of the process so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND

    def printed_port(self) -> int:
        """Return the port that the process prints as its first line."""
        self.wait_until(lambda: "\n" in self._log.read_text())
        return int(self._log.read_text().partition("\n")[0])

    def wait_until_ready(self, url: str) -> None:
        """Wait for any HTTP answer under 500 at `url`."""
        self.wait_until(lambda: _answers(url))

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Wait until `is_ready` returns True. Raises DidNotStart if the process ends or the time to start is over."""
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not is_ready():
            if time.monotonic() > deadline or not self.is_alive:
                raise self._silent()
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the process as `kill -9` does, even while it is frozen."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """Ask the process to stop, wait, and kill the process if it does not stop."""
        if not self.is_alive:
            return
        self.thaw()
        self._process.terminate()
        try:
            self._process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _silent(self) -> DidNotStart:
        said = self._log.read_text(errors="replace")[-2_000:]
        return DidNotStart(f"{' '.join(self.command)} did not start:\n{said}")


@contextmanager
def pinned_to(core: int) -> Iterator[None]:
    """Keep this process on one core within the context."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:  # not listening yet
        return False


def free_port() -> int:
    """Return a port of 127.0.0.1 on which no process listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def busy_seconds(core: int) -> float:
    """Return the seconds that a core has been busy so far, including time stolen by the hypervisor."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            return (user + nice + system + irq + softirq + steal) / _TICKS_PER_SECOND
    raise LookupError(f"/proc/stat has no core {core}")
