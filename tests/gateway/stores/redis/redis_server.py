"""A real Redis for tests: a process of our own on a free port, with its files in a folder."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

PROGRAM = shutil.which("redis-server")
OPTIONS = ("--bind", "127.0.0.1", "--save", "")
DEBUGGING = ("--enable-debug-command", "yes")


class RedisServer:
    """Started when made; `stop` it. What it holds outlives `kill` and `start` in an append-only file, which is synced
    as `sync` says (Redis's `appendfsync`; None: there is no such file).
    """

    def __init__(self, folder: Path, *, sync: str | None = "always") -> None:
        self.folder = folder
        self._options = [*OPTIONS, *DEBUGGING]
        if sync is not None:
            self._options += ["--appendonly", "yes", "--appendfsync", sync]
        folder.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        assert PROGRAM is not None, "redis-server is not installed: `make test` installs it where it may"
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "--port", str(self.port), "--dir", str(self.folder), *self._options],
                stdout=log,
                stderr=log,
                restore_signals=False,  # a file that may grow no further is then an error, and not its end
            )
        deadline = time.monotonic() + 60
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "redis.log").read_text()
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)

    def answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait()
