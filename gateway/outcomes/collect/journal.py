"""The journal of asks and their outcomes: JSON lines that are only ever added, and are on disk before anything is sent.

`{"ask": 7, "query": ..., "candidate": ..., "form": ..., "hold": nanodollars}` is written before its request is sent,
and `{"end": 7, "outcome": ..., ...}` after it. An ask without an end was in progress when the process died: its request
may have been billed, so its hold counts as spent, and the cell is asked again.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from gateway.errors import ConfigError

if sys.platform != "win32":
    import fcntl

FORMAT = 1
ANSWERED, REFUSED, FAILED, BROKEN, LOST = "answered", "refused", "failed", "broken", "lost"
"""Billed; refused for good; failed at no cost; broken off at unknown cost; in progress when the process died."""
UNKNOWN_COST = (BROKEN, LOST)

Cell = tuple[str, str]
"""Query id and candidate."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A candidate's answer to a query. `cost` in nanodollars; `metered` is True if the provider sent no usage."""

    text: str
    finish_reason: str
    input_tokens: int
    output_tokens: int
    cost: int
    metered: bool
    latency_s: float
    prices: str


@dataclass(slots=True)
class JournalState:
    """The content of a journal. Amounts in nanodollars.

    Attributes:
        answers: answers of answered cells; `refused` has the reasons of cells that were refused for good.
        forms: a digest of what was asked, by cell.
        ends: how many asks ended in each way; an ask in progress at a kill ended in `lost`.
        holds: cells and holds of asks without an end, by the ask's number.
    """

    answers: dict[Cell, Answer] = field(default_factory=dict)
    refused: dict[Cell, str] = field(default_factory=dict)
    forms: dict[Cell, str] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=lambda: dict.fromkeys((ANSWERED, REFUSED, FAILED, BROKEN, LOST), 0))
    holds: dict[int, tuple[Cell, int]] = field(default_factory=dict)
    asks: int = 0
    spent: int = 0
    uncertain: int = 0

    def take(self, record: Mapping[str, Any]) -> None:
        """Apply one line. Raises KeyError, TypeError or ValueError for a line that is not a journal's."""
        if "journal" in record:
            if record["journal"] != FORMAT:
                raise ValueError(f"it is of format {record['journal']!r}; this version reads {FORMAT}")
        elif "ask" in record:
            cell = (record["query"], record["candidate"])
            self.asks = max(self.asks, record["ask"])
            self.forms[cell] = record["form"]
            self.refused.pop(cell, None)
            self.holds[record["ask"]] = (cell, record["hold"])
        else:
            self._end(record)

    def _end(self, record: Mapping[str, Any]) -> None:
        cell, hold = self.holds.pop(record["end"])
        outcome = record["outcome"]
        self.ends[outcome] += 1
        if outcome == ANSWERED:
            self.answers[cell] = answer = Answer(**record["answer"])
            self.spent += answer.cost
        elif outcome == REFUSED:
            self.refused[cell] = record["reason"]
        elif outcome in UNKNOWN_COST:
            self.uncertain += hold


class Journal:
    """An open journal. `kept` is its content, including this run's lines. Create and close it in a running loop."""

    def __init__(self, path: Path, say_waiting: Callable[[], None]) -> None:
        """Open or create the journal, exclusively: while another process has it, say so and wait.

        Raises ConfigError if it is broken elsewhere than at its end, or cannot be written.
        """
        self.kept = JournalState()
        self._path = path
        self._lines: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._flushing: asyncio.Task[None] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("a+b", buffering=0)
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror or error}") from None
        try:
            self._lock(say_waiting)
            self._read()
        except BaseException:
            self._file.close()
            raise

    async def begin(self) -> None:
        """Write the format, and end the asks that were in progress when the previous process died."""
        if not self.kept.asks:
            await self.write({"journal": FORMAT})
        for number in list(self.kept.holds):
            await self.write({"end": number, "outcome": LOST})

    async def ask(self, cell: Cell, form: str, hold: int) -> int:
        """Note what is about to be sent. Returns its number once the line is on disk."""
        number = self.kept.asks + 1
        await self.write({"ask": number, "query": cell[0], "candidate": cell[1], "form": form, "hold": hold})
        return number

    async def end(self, number: int, outcome: str, **more: Any) -> None:
        """Note the outcome; return once the line is on disk."""
        await self.write({"end": number, "outcome": outcome, **more})

    async def write(self, record: Mapping[str, Any]) -> None:
        """Add a line; lines that arrive during a write reach the disk together. Raises ConfigError."""
        self.kept.take(record)
        self._lines.append(json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        written = asyncio.get_running_loop().create_future()
        self._waiting.append(written)
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.ensure_future(self._flush())
        await written

    async def close(self) -> None:
        """Finish writing, and close the file."""
        if self._flushing is not None:
            await asyncio.gather(self._flushing, return_exceptions=True)
        self._file.close()

    async def _flush(self) -> None:
        while self._lines:
            lines, self._lines = self._lines, []
            waiting, self._waiting = self._waiting, []
            fault: ConfigError | None = None
            try:
                await asyncio.to_thread(self._put, b"".join(lines))
            except OSError as error:
                fault = ConfigError(f"{self._path}: {error.strerror or error}")
            for each in waiting:
                if each.cancelled():
                    continue
                if fault is None:
                    each.set_result(None)
                else:
                    each.set_exception(fault)

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file.fileno(), view) :]
        os.fsync(self._file.fileno())

    def _lock(self, say_waiting: Callable[[], None]) -> None:
        if sys.platform != "win32":
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say_waiting()
                fcntl.flock(self._file, fcntl.LOCK_EX)

    def _read(self) -> None:
        """Apply every line; an incomplete last line, from a killed process, is cut off."""
        self._file.seek(0)
        data = self._file.read()
        whole = _take_lines(self.kept, data, self._path)
        if whole < len(data):
            self._file.truncate(whole)


def read_journal(path: Path) -> JournalState:
    """Return the content of a journal, even if another process has it open. Raises ConfigError."""
    kept = JournalState()
    try:
        _take_lines(kept, path.read_bytes(), path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    return kept


def _take_lines(kept: JournalState, data: bytes, path: Path) -> int:
    """Apply the complete lines. Returns their number of bytes."""
    whole = data.rfind(b"\n") + 1
    for number, line in enumerate(data[:whole].splitlines(), start=1):
        try:
            kept.take(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None
    return whole
