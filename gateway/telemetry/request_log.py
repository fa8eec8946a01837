"""The request log: one JSON line per request, written in batches off the hot path, without text, images or keys."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from gateway.billing.money import NANODOLLARS
from gateway.pipeline.record import RequestRecord, Source, reader

_log = logging.getLogger("loupe")
FLUSH_S = 0.02
LARGEST_QUEUE = 100_000
_encoder = msgspec.json.Encoder()


class RequestLog:
    """Implements `Observer`. A thread writes the gathered lines; when the queue is full, lines are
    dropped and counted.

    A file that was renamed, as logrotate does, is written to until `reopen`.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._records: list[RequestRecord] = []
        self._stop = threading.Event()
        self._is_moved = False
        self._thread = threading.Thread(target=self._write_for_ever, name="request-log", daemon=True)
        self.lost = 0

    def open(self) -> None:
        """Open the file and start the thread. Raises OSError when the file cannot be opened."""
        self._file: IO[str] = sys.stdout if self._path is None else _appended(self._path)
        self._thread.start()

    def reopen(self) -> None:
        """Close the file and open the path again, before the next line is written. Returns at once."""
        self._is_moved = self._path is not None

    @property
    def waiting(self) -> int:
        """The number of records that are not written yet."""
        return len(self._records)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        if self._path is not None:
            with suppress(OSError):  # lines that could not be written are counted
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
            del self._records[: len(records)]  # keep the same list object, because `observe` may be using it
            if self._is_moved:
                self._reopen()
            if records:
                self._write(records)
            if stopping:
                return

    def _reopen(self) -> None:
        self._is_moved = False
        assert self._path is not None
        try:
            opened = _appended(self._path)
        except OSError as error:
            _log.error("log.path: %s cannot be opened again, lines go on into the old file: %s", self._path, error)
            return
        with suppress(OSError):
            self._file.close()
        self._file = opened

    def _write(self, records: list[RequestRecord]) -> None:
        try:
            self._file.write(_encoder.encode_lines([line(record) for record in records]).decode())
            self._file.flush()
        except OSError:  # a full disk or a closed pipe must not stop the service
            self.lost += len(records)


def _appended(path: Path) -> IO[str]:
    return path.open("a", encoding="utf-8")


_TO_MS = "int({0} * 1e3 * 1000) / 1000"
"""Milliseconds to three decimals, the rest cut off: takes a third of the time of `round`."""
_USD = f"{{0}} / {NANODOLLARS}"
MEMBERS: Mapping[str, Source] = {
    "time": ("started_at", "int({0} * 1000) / 1000"),
    "event": ("request_id", "'request'"),
    "request_id": "request_id",
    "tenant": "tenant",
    "candidate": "candidate",
    "reason": "reason",
    "outcome": "outcome",
    "status": "status",
    "error_code": "error_code",
    "streamed": "streamed",
    "images": "images",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "metered": "metered",
    "exceeds_hold": "exceeds_hold",
    "cost_usd": ("cost", _USD),
    "expected_cost_usd": ("expected_cost", _USD),
    "held_usd": ("held", _USD),
    "cap_usd": ("cap", f"None if {{0}} is None else {_USD}"),
    "prices": "prices",
    "quality": "forecast_quality",
    "attempts": ("attempts", "[(each.candidate, each.failure) for each in {0}]"),
    "failures": ("attempts", "[each.said for each in {0} if each.said]"),
    "encode_ms": ("encode_s", _TO_MS),
    "first_byte_ms": ("first_byte_s", f"None if {{0}} is None else {_TO_MS}"),
    "total_ms": ("total_s", _TO_MS),
    "overhead_ms": ("overhead_s", _TO_MS),
}
"""The members of a log line, in their order, and each one's source in the record. Money in USD,
times in milliseconds.
"""
_Line = msgspec.defstruct("_Line", MEMBERS, frozen=True)
line: Callable[[RequestRecord], msgspec.Struct] = reader(MEMBERS.values(), _Line)
"""Returns a record's log line: a struct with the names of `MEMBERS`, which takes half the time of a dict."""
