"""One JSON line a request, written in batches off the hot path. No text, no image and no key is in it."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from gateway.core.money import NANODOLLARS
from gateway.core.record import RequestRecord

FLUSH_S = 0.02
LARGEST_QUEUE = 100_000
_encoder = msgspec.json.Encoder()


class RequestLog:
    """Implements `Observer`. A thread writes what has gathered; past a full queue lines are only counted."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._records: list[RequestRecord] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_for_ever, name="request-log", daemon=True)
        self.lost = 0

    def open(self) -> None:
        """Raises OSError when the file can not be had."""
        self._file: IO[str] = sys.stdout if self._path is None else self._path.open("a", encoding="utf-8")
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Records that are not written yet."""
        return len(self._records)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        if self._path is not None:
            with suppress(OSError):  # what could not be written is counted
                self._file.close()

    def observe(self, record: RequestRecord) -> None:
        if len(self._records) >= LARGEST_QUEUE:
            self.lost += 1
        else:
            self._records.append(record)

    def _write_for_ever(self) -> None:
        while True:
            stopping = self._stop.wait(FLUSH_S)
            records = self._records[:]
            del self._records[: len(records)]  # the list stays the same: `observe` may be at it
            if records:
                self._write(records)
            if stopping:
                return

    def _write(self, records: list[RequestRecord]) -> None:
        try:
            self._file.write(_encoder.encode_lines([line(record) for record in records]).decode())
            self._file.flush()
        except OSError:  # the disk is full, the pipe is closed: serving goes on
            self.lost += len(records)


class Line(msgspec.Struct, frozen=True):
    """The members of a log line, in their order. Money in USD, times in milliseconds."""

    time: float
    event: str
    request_id: str
    tenant: str
    candidate: str | None
    reason: str
    outcome: str
    status: int
    error_code: str | None
    streamed: bool
    images: int
    input_tokens: int
    output_tokens: int
    metered: bool
    cost_usd: float
    expected_cost_usd: float
    held_usd: float
    cap_usd: float | None
    prices: str
    quality: float | None
    attempts: list[tuple[str, str | None]]
    encode_ms: float
    first_byte_ms: float | None
    total_ms: float
    overhead_ms: float


def line(record: RequestRecord) -> Line:
    """A record as its log line."""
    return Line(
        _cut(record.started_at),
        "request",
        record.request_id,
        record.tenant,
        record.candidate,
        record.reason,
        record.outcome,
        record.status,
        record.error_code,
        record.streamed,
        record.images,
        record.input_tokens,
        record.output_tokens,
        record.metered,
        record.cost / NANODOLLARS,
        record.expected_cost / NANODOLLARS,
        record.held / NANODOLLARS,
        None if record.cap is None else record.cap / NANODOLLARS,
        record.prices,
        record.forecast_quality,
        [(attempt.candidate, attempt.failure) for attempt in record.attempts],
        _cut(record.encode_s * 1e3),
        None if record.first_byte_s is None else _cut(record.first_byte_s * 1e3),
        _cut(record.total_s * 1e3),
        _cut(record.overhead_s * 1e3),
    )


def _cut(number: float) -> float:
    """To three decimals, the rest cut off: a third of the time of `round`."""
    return int(number * 1000) / 1000
