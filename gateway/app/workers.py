"""Several worker processes on one listening socket: started, watched, restarted, sent signals, ended together."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

from gateway.app.child_process import child_environment

LOOK_EVERY_S = 0.2
SHORT_LIFE_S = 5.0
"""A worker that ends sooner than this (seconds) after its start is not restarted at once."""
LONGEST_WAIT_S = 60.0
"""Seconds between two attempts to start a worker that cannot start, at most."""
_log = logging.getLogger("loupe")


@dataclass(slots=True)
class _Worker:
    """A running worker. `link` is our end of its link: it says there that it has started, and sees there that we end.

    A pair of sockets is closed by the system when a process ends, however it ends.
    """

    process: subprocess.Popen[bytes]
    began: float
    link: socket.socket
    has_started: bool = False

    def look(self) -> None:
        """Note whether the worker has said that it serves."""
        if not self.has_started:
            try:
                self.has_started = bool(self.link.recv(1))
            except OSError:  # nothing yet
                return


class Workers:
    """The worker processes.

    `command` returns a worker's command line from its place among them (0, 1, ...) and the file descriptors that it
    inherits: the listening socket, and the worker's end of its link, for `follow_parent`.

    A worker that ends is replaced. While no worker has ever served, one that fails is not: the next would fail for the
    same reason, and when all have failed the service ends. Later, as after an edit that broke the configuration, those
    that serve go on, and the others are tried again, ever more seldom.
    """

    def __init__(self, command: Callable[[int, int, int], Sequence[str]], listener: socket.socket, count: int) -> None:
        self._command = command
        self._listener = listener
        self._count = count
        self._running: dict[int, _Worker] = {}
        self._wait_until: dict[int, float] = {}
        self._failures: dict[int, int] = {}
        """By place, starts in a row that failed."""
        self._has_served = False
        self._stopping = False
        self._failed = False

    @property
    def processes(self) -> list[int]:
        """The process ids of the workers that run, in the order of their places."""
        return [self._running[place].process.pid for place in sorted(self._running)]

    @property
    def is_failed(self) -> bool:
        """True when no worker could start."""
        return self._failed

    def run(self, shutdown_s: float) -> int:
        """Run the workers until SIGTERM or SIGINT. Returns 1 if no worker could start, else 0."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, lambda number, _: self._tell(signal.Signals(number)))
        while not self._stopping:
            self.tend(time.monotonic())
            time.sleep(LOOK_EVERY_S)
        self.end(shutdown_s)
        return 1 if self._failed else 0

    def tend(self, now: float) -> None:
        """Note which workers have started or ended, and start those that are missing. `now` is in seconds."""
        for place, worker in list(self._running.items()):
            ended = worker.process.poll() is not None
            worker.look()
            if worker.has_started and not self._has_served:
                self._has_served = True
                self._wait_until = dict.fromkeys(self._wait_until, now + SHORT_LIFE_S)
            if ended:
                self._note_end(place, worker, now)
        if not self._stopping:
            self._start_missing(now)

    def end(self, shutdown_s: float) -> None:
        """End the workers: ask, and after `shutdown_s` and a little more seconds kill."""
        self._tell(signal.SIGTERM)
        deadline = time.monotonic() + shutdown_s + 5
        for worker in self._running.values():
            try:
                worker.process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.link.close()

    def _start_missing(self, now: float) -> None:
        for place in range(self._count):
            if place not in self._running and now >= self._wait_until.get(place, 0.0):
                listener = self._listener.fileno()
                ours, theirs = socket.socketpair()
                with theirs:
                    process = subprocess.Popen(  # noqa: S603  our own program
                        self._command(place, listener, theirs.fileno()),
                        pass_fds=[listener, theirs.fileno()],
                        env=child_environment(),
                    )
                ours.setblocking(False)
                self._running[place] = _Worker(process, now, ours)
                _log.info("worker %d is process %d", place, process.pid)

    def _note_end(self, place: int, worker: _Worker, now: float) -> None:
        del self._running[place]
        worker.link.close()
        status = worker.process.returncode
        self._failures[place] = 0 if worker.has_started else self._failures.get(place, 0) + 1
        if worker.has_started:
            wait_s = 0.0 if now - worker.began > SHORT_LIFE_S else SHORT_LIFE_S
        else:
            wait_s = min(SHORT_LIFE_S * 2.0 ** (self._failures[place] - 1), LONGEST_WAIT_S)
        if status > 0 and not self._has_served:
            wait_s = math.inf
        self._wait_until[place] = now + wait_s
        if self._stopping:
            return
        _log.error("worker %d, process %d, ended with %d", place, worker.process.pid, status)
        if self._has_served and not worker.has_started:
            _log.error("worker %d could not start; the others go on, and it is tried again in %.0f s", place, wait_s)
        if len(self._wait_until) == self._count and all(until == math.inf for until in self._wait_until.values()):
            self._failed = self._stopping = True

    def _stop(self, _: int, __: FrameType | None) -> None:
        self._stopping = True

    def _tell(self, number: signal.Signals) -> None:
        for worker in self._running.values():
            worker.process.send_signal(number)


def follow_parent(descriptor: int, has_started: Callable[[], bool]) -> None:
    """Tell the parent when this worker has started, and end this worker when the parent has ended, in a thread.

    `descriptor` is the worker's end of its link. The parent's end is closed when the parent ends, even by SIGKILL. The
    worker then ends as by SIGTERM.
    """

    def follow() -> None:
        with socket.socket(fileno=descriptor) as link:
            link.settimeout(LOOK_EVERY_S / 4)
            with suppress(OSError):  # a reset is an end, too
                while not has_started() and not _has_ended(link):
                    continue
                link.sendall(b"1")
                link.settimeout(None)
                while not _has_ended(link):
                    continue
        _log.warning("the process that started this worker has ended, so the worker ends")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, name="parent", daemon=True).start()


def _has_ended(link: socket.socket) -> bool:
    """Wait for the link's time limit; return True if its other end was closed."""
    try:
        return not link.recv(1)
    except TimeoutError:
        return False
