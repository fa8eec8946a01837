"""`loupe` commands as processes of their own, ended by their id, with their logs shown when something fails."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.harness.scripted_provider import wait_until
from tests.e2e.harness.site import Site

START_S = 600.0
STOP_S = 300.0


@dataclass
class Command:
    """A running command. `log` holds everything it wrote."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int = 0

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def until(self, is_met: Callable[[], bool], what: str, limit_s: float = START_S) -> None:
        """Wait for what a command that runs is to do. Fails with its log: at once when it has ended without it."""

        def is_met_or_ended() -> bool:
            has_ended = self.process.poll() is not None  # asked first: what it did last is seen below
            met = is_met()
            assert met or not has_ended, f"it ended with {self.process.returncode} before {what}"
            return met

        try:
            wait_until(is_met_or_ended, what, limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.text}") from None

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and wait; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it did not end on {number.name}:\n{self.text}") from None


@contextmanager
def running(words: Sequence[str | Path], log: Path) -> Iterator[Command]:
    """Run `loupe` with these words until the block ends. Enters once it says at which port it listens."""
    with log.open("ab") as output:
        began = log.stat().st_size
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", *map(str, words)], stdout=output, stderr=subprocess.STDOUT
        )
    command = Command(process, log)

    def says_its_port() -> bool:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", command.text[began:])
        command.port = int(found[1]) if found else 0
        return found is not None

    try:
        command.until(says_its_port, f"the start of {words[0]}")
        yield command
    finally:
        command.end()
    assert "Traceback" not in command.text[began:], command.text


@contextmanager
def running_gateway(config: Path, folder: Path) -> Iterator[tuple[Command, Site]]:
    """`loupe serve` on this configuration, whose `server.port` is 0."""
    with running(["serve", "--config", config], folder / "gateway.log") as command:
        yield command, Site("127.0.0.1", command.port, folder)
