"""Several worker processes on one listening socket: started, watched, restarted, sent signals, ended together."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from types import FrameType

from gateway.app.child_process import child_environment

LOOK_EVERY_S = 0.2
SHORT_LIFE_S = 5.0
"""A worker that ends sooner than this (seconds) after its start is not restarted at once."""
START_S = 60.0
"""If a worker gives up within this time (seconds), it could not start, and neither could the next."""
_log = logging.getLogger("loupe")


class Workers:
    """The worker processes.

    `command` returns a worker's command line from its place among them (0, 1, ...) and the file descriptor of the
    socket that it inherits.
    """

    def __init__(self, command: Callable[[int, int], Sequence[str]], listener: socket.socket, count: int) -> None:
        self._command = command
        self._listener = listener
        self._count = count
        self._running: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
        self._wait_until: dict[int, float] = {}
        self._stopping = False
        self._failed = False

    def run(self, shutdown_s: float) -> int:
        """Run the workers until SIGTERM or SIGINT. Returns 1 if a worker could not start, else 0."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, lambda number, _: self._tell(signal.Signals(number)))
        while not self._stopping:
            self._start_missing()
            time.sleep(LOOK_EVERY_S)
            self._look()
        self._end(shutdown_s)
        return 1 if self._failed else 0

    def _start_missing(self) -> None:
        now = time.monotonic()
        for place in range(self._count):
            if place not in self._running and now >= self._wait_until.get(place, 0.0):
                descriptor = self._listener.fileno()
                process = subprocess.Popen(  # noqa: S603  our own program
                    self._command(place, descriptor), pass_fds=[descriptor], env=child_environment()
                )
                self._running[place] = process, now
                _log.info("worker %d is process %d", place, process.pid)

    def _look(self) -> None:
        """Note which workers have ended. A worker that failed at its start ends all: the others would fail for the same
        reason.
        """
        for place, (process, began) in list(self._running.items()):
            if process.poll() is None:
                continue
            del self._running[place]
            lived = time.monotonic() - began
            self._wait_until[place] = 0.0 if lived > SHORT_LIFE_S else time.monotonic() + SHORT_LIFE_S
            if not self._stopping:
                _log.error("worker %d, process %d, ended with %d", place, process.pid, process.returncode)
            if process.returncode > 0 and lived < START_S:
                self._failed = self._stopping = True

    def _stop(self, _: int, __: FrameType | None) -> None:
        self._stopping = True

    def _tell(self, number: signal.Signals) -> None:
        for process, _ in self._running.values():
            process.send_signal(number)

    def _end(self, shutdown_s: float) -> None:
        self._tell(signal.SIGTERM)
        deadline = time.monotonic() + shutdown_s + 5
        for process, _ in self._running.values():
            try:
                process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
