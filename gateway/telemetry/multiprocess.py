"""The metrics of all worker processes of one service: each worker writes its own to a file, and any of them can show
all.

Workers share a port, so a scrape reaches one of them at random. Each has a place, and a file in a folder that they
share; a worker that replaces a dead one continues from its counts. Counters never fall, because what a scrape showed
was written to the file before.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import msgspec

from gateway.telemetry.exposition import Family, added_up, exposition
from gateway.telemetry.metrics import Metrics

PUBLISH_S = 1.0
STALE_S = 10.0
"""A process that has published nothing for this many seconds is gone: its gauges are out of date."""


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """A worker's place among the workers of a service: 0, 1, ...; only these workers use `folder`."""

    folder: Path
    number: int

    @property
    def file(self) -> Path:
        return self.folder / f"{self.number}.metrics"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The counts of one process at a time (seconds since the epoch)."""

    at: float
    families: tuple[Family, ...]


class SharedMetrics:
    """The `metrics` of this process, or of all workers if this process has a place among several.

    `report` takes errors with the files, only the first of consecutive ones.
    """

    def __init__(
        self,
        metrics: Metrics,
        place: WorkerPlace | None = None,
        *,
        report: Callable[[str, BaseException], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._metrics = metrics
        self._place = place
        self._report = report
        self._clock = clock
        self._before: tuple[Family, ...] = ()
        self._numbers = count(1)
        self._writing = threading.Lock()
        self._written = 0
        self._failing = False

    async def open(self) -> None:
        """Continue from the counts of the worker that had this place before."""
        if self._place is not None:
            found = await asyncio.to_thread(_read, self._place.file)
            if found is not None:
                self._before = tuple(each for each in found.families if each.kind != "gauge")
                self._metrics.continue_from(self._before)

    async def scrape(self) -> bytes:
        """Return the exposition text of all workers."""
        return await asyncio.to_thread(self._expose, next(self._numbers), self._own())

    async def publish_for_ever(self) -> None:
        """Publish once per PUBLISH_S. Ends at once without a place, because no other process would read it."""
        while self._place is not None:
            await self.publish()
            await asyncio.sleep(PUBLISH_S)

    async def publish(self) -> None:
        """Write the counts of this process to its file."""
        if self._place is not None:
            await asyncio.to_thread(self._write, next(self._numbers), self._own(), self._place)

    def _own(self) -> Snapshot:
        live = self._metrics.snapshot()
        families = added_up([self._before, live]) if self._before else live
        return Snapshot(self._clock(), tuple(families))

    def _expose(self, number: int, own: Snapshot) -> bytes:
        if self._place is None:
            return exposition(own.families)
        self._write(number, own, self._place)
        return exposition(added_up(self._fresh([*self._others(self._place), own])))

    def _fresh(self, snapshots: Sequence[Snapshot]) -> list[tuple[Family, ...]]:
        """Return the families in the order of their times; of stale processes only the counts."""
        now = self._clock()
        return [
            each.families
            if now - each.at < STALE_S
            else tuple(replace(family, samples=()) if family.kind == "gauge" else family for family in each.families)
            for each in sorted(snapshots, key=lambda each: each.at)
        ]

    def _others(self, place: WorkerPlace) -> list[Snapshot]:
        found = (_read(file) for file in sorted(place.folder.glob("*.metrics")) if file != place.file)
        return [each for each in found if each is not None]

    def _write(self, number: int, own: Snapshot, place: WorkerPlace) -> None:
        """Write a snapshot, but never an older one over a newer one, because several threads may write."""
        unfinished = place.file.with_suffix(".unfinished")
        with self._writing:
            if number < self._written:
                return
            try:
                unfinished.write_bytes(_encoder.encode(own))
                unfinished.replace(place.file)
                self._written, self._failing = number, False
            except OSError as error:
                if not self._failing:
                    self._report("metrics", error)
                self._failing = True


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Snapshot)


def _read(file: Path) -> Snapshot | None:
    """Return the snapshot in a file; None if the file is missing or of another version."""
    with suppress(OSError, msgspec.MsgspecError):
        return _decoder.decode(file.read_bytes())
    return None
