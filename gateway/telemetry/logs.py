"""One JSON line a request, written in batches off the hot path. No text, no image and no key is in it."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

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


def line(record: RequestRecord) -> dict[str, Any]:
    """A record as the members of its log line. Money in USD, times in milliseconds."""
    return {
        "time": round(record.started_at, 3),
        "event": "request",
        "request_id": record.request_id,
        "tenant": record.tenant,
        "candidate": record.candidate,
        "reason": record.reason,
        "outcome": record.outcome,
        "status": record.status,
        "error_code": record.error_code,
        "streamed": record.streamed,
        "images": record.images,
        "input_tokens": record.input_tokens,
        "output_tokens": record.output_tokens,
        "metered": record.metered,
        "cost_usd": record.cost / NANODOLLARS,
        "expected_cost_usd": record.expected_cost / NANODOLLARS,
        "held_usd": record.held / NANODOLLARS,
        "cap_usd": None if record.cap is None else record.cap / NANODOLLARS,
        "prices": record.prices,
        "quality": record.forecast_quality,
        "attempts": [[a.candidate, a.failure] for a in record.attempts],
        "encode_ms": round(record.encode_s * 1e3, 3),
        "first_byte_ms": None if record.first_byte_s is None else round(record.first_byte_s * 1e3, 3),
        "total_ms": round(record.total_s * 1e3, 3),
        "overhead_ms": round(record.overhead_s * 1e3, 3),
    }
