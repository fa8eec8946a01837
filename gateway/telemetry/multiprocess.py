"""The metrics of all worker processes of one service: each writes its own down, and any of them tells of all.

Workers share a port, so a scrape reaches one of them at random. Each has a place, and a file in a folder that they
share; a worker that takes a dead one's place goes on from its counts. Counters never fall: whatever was told in an
answer was written down before.
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
"""A process that has been silent for so long is gone: what it measured last says nothing of now."""


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """A worker's place among the workers of a service: 0, 1, ...; `folder` is theirs alone."""

    folder: Path
    number: int

    @property
    def file(self) -> Path:
        return self.folder / f"{self.number}.metrics"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one process had counted at a time (seconds since the epoch)."""

    at: float
    families: tuple[Family, ...]


class SharedMetrics:
    """`metrics` of this process, and those of all when it has a place among several. `report` takes what goes wrong
    with the files, once a streak.
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
        """Go on from what the worker that was in this place before had counted."""
        if self._place is not None:
            found = await asyncio.to_thread(_read, self._place.file)
            if found is not None:
                self._before = tuple(each for each in found.families if each.kind != "gauge")
                self._metrics.continue_from(self._before)

    async def scrape(self) -> bytes:
        """The exposition text of all workers."""
        return await asyncio.to_thread(self._expose, next(self._numbers), self._own())

    async def publish_for_ever(self) -> None:
        """Once a second. Without a place there is nobody to tell."""
        while self._place is not None:
            await self.publish()
            await asyncio.sleep(PUBLISH_S)

    async def publish(self) -> None:
        """Write down what this process has counted."""
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
        """In the order in which they were taken; of those who fell silent the counts alone."""
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
        """Never an older snapshot over a newer one: several threads may be at it."""
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
    """None where there is none, or none of this version."""
    with suppress(OSError, msgspec.MsgspecError):
        return _decoder.decode(file.read_bytes())
    return None
