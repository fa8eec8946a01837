"""The decision log: an observer that keeps references on the request path, and a thread that writes them as rows.

An observed record is in the file after `FLUSH_S`, plus the time to write the group before it and its own: some
milliseconds. A commit hands the data to the operating system: it survives any end of the process, and a power cut up to
SQLite's last checkpoint (`synchronous=NORMAL`).
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from gateway.outcomes.log.content import Content, ContentStore
from gateway.outcomes.log.lru import Recent
from gateway.outcomes.log.retention import DAY_S, remove_old_decisions
from gateway.outcomes.log.rows import DECISION_COLUMNS, QueryRow, decision_row, key_of, query_row
from gateway.outcomes.log.schema import open_decisions
from gateway.pipeline.record import RequestRecord
from gateway.stores.sqlite.file import fault_of
from models.base import ImageSource, Views

FLUSH_S = 0.02
LARGEST_QUEUE = 20_000
"""The most records in the queue; a record takes about 5 KB with the decision that it refers to."""
LARGEST_QUEUE_BYTES = 64 * 1024 * 1024
"""The most bytes of texts and images that queued records keep in memory."""
LARGEST_GROUP = 256
"""The most records per transaction, so that other writers to the file do not wait longer."""
TRIES_ALONE = 10
CLOSE_PATIENCE_S = 10.0
SWEEP_EVERY_S = 3_600.0
KNOWN_QUERIES = 65_536
KNOWN_IMAGES = 65_536
AT_ONCE = (64, 8, 1)
"""Rows per statement. SQLite releases the interpreter while it runs a statement: few long statements leave the loop
free.
"""
_log = logging.getLogger("loupe")


class Encodings(Protocol):
    """The part of `models.cache.QueryEncoder` that the log needs."""

    @property
    def digest(self) -> str: ...
    def peek(self, text: str, images: Sequence[ImageSource]) -> Views | None: ...


class DecisionLog:
    """Implements `Observer`. When the queue is full, records are only counted (`lost`); nothing waits for the log."""

    def __init__(
        self, path: Path, encodings: Encodings, content: ContentStore | None = None, days: float | None = None
    ) -> None:
        """Prepare the log. Decisions older than `days` are removed; None: never."""
        self._path = path
        self._days = days
        self._encodings = encodings
        self._content = content
        self._queue: list[RequestRecord] = []
        self._bytes_in = self._bytes_out = 0
        self._lost_in = self._lost_out = 0
        self._content_lost_in = self._content_lost_out = 0
        self.longest_write_s = 0.0
        self._stop = threading.Event()
        self._writing = threading.Thread(target=self._write_for_ever, name="decision-log", daemon=True)
        self._known_queries = Recent[bytes, float](KNOWN_QUERIES)
        """Queries that are in the file with their embedding, and when that was noted."""
        self._sha256 = Recent[bytes, bytes](KNOWN_IMAGES)
        self._sweep_at = 0.0
        self._is_faulty = False
        """True if the last group was lost to an error of the file, which has been logged."""

    @property
    def queued(self) -> int:
        """The number of records that wait to be written."""
        return len(self._queue)

    @property
    def content_lost(self) -> int:
        """Records whose images were dropped because too many bytes waited, or whose content could not be kept."""
        return self._content_lost_in + self._content_lost_out

    @property
    def lost(self) -> int:
        return self._lost_in + self._lost_out

    def open(self) -> None:
        """Open the files and start the thread. Raises StoreError when a file cannot be opened."""
        self._db = open_decisions(self._path)
        if self._content is not None:
            self._content.open()
        self._writing.start()

    def close(self) -> None:
        """Write the waiting records, for at most `CLOSE_PATIENCE_S`, and close the files. Blocks."""
        self._stop.set()
        self._writing.join()
        self._db.close()
        if self._content is not None:
            self._content.close()

    def observe(self, record: RequestRecord) -> None:
        size = _size(record)
        if self._bytes_in - self._bytes_out + size > LARGEST_QUEUE_BYTES and record.sources:
            record = record._replace(sources=())
            size = _size(record)
            self._content_lost_in += 1
        if len(self._queue) >= LARGEST_QUEUE or self._bytes_in - self._bytes_out + size > LARGEST_QUEUE_BYTES:
            self._lost_in += 1
            return
        self._bytes_in += size  # only the loop writes `_bytes_in`, and only the thread writes `_bytes_out`
        self._queue.append(record)

    def _write_for_ever(self) -> None:
        while not self._stop.wait(FLUSH_S):
            while self._write_group() and len(self._queue) >= LARGEST_GROUP:
                pass
            self._sweep()
        deadline = time.monotonic() + CLOSE_PATIENCE_S
        while self._queue and time.monotonic() < deadline:
            self._write_group()
        self._lost_out += len(self._queue)

    def _write_group(self) -> bool:
        """Write the oldest waiting records. Returns False if there are none, or if the file is not available now."""
        records = self._queue[:LARGEST_GROUP]
        if not records:
            return False
        began = time.perf_counter()
        try:
            self._write(records)
        except Exception as error:
            fault = fault_of(error)
            if fault == "passing":  # locked, or the disk is full: the records stay in the queue
                _log.debug("%s: %s", self._path, error)
                return False
            if fault == "file":
                self._lose(records, error)
            else:  # an invalid row must not block the others
                self._write_one_by_one(records)
        else:
            self._is_faulty = False
        del self._queue[: len(records)]  # keep the same list object, because `observe` may be using it
        self._bytes_out += sum(map(_size, records))
        self.longest_write_s = max(self.longest_write_s, time.perf_counter() - began)
        return True

    def _write(self, records: Sequence[RequestRecord]) -> None:
        decisions, queries, contents = [], [], []
        for record in records:
            key = None
            if record.query is not None:
                key = key_of(record.query, record.sources)
                row = self._query_row(record, key)
                if row is not None:
                    queries.append(row)
                if self._content is not None:
                    contents.append(self._content_of(record, key))
            decisions.append(decision_row(record, key))
        if self._content is not None:
            self._keep(self._content, contents)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_PUT_QUERY, queries)
            _insert(self._db, decisions)
            self._db.execute("COMMIT")
        except Exception:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        for row in queries:
            if row.embedding is not None:
                self._known_queries.put(row.key, row.seen_at)

    def _query_row(self, record: RequestRecord, key: bytes) -> QueryRow | None:
        """Return the query's row; None if everything known about the query is already in the file."""
        query = record.query
        assert query is not None
        now = time.time()
        if (noted_at := self._known_queries.get(key)) is not None and now - noted_at < DAY_S:
            return None
        for source in record.sources:
            if self._sha256.get(source.key) is None:
                self._sha256.put(source.key, _file_hash(source))
        known = {image.key: own for image in query.images if (own := self._sha256.get(image.key)) is not None}
        views = self._encodings.peek(query.text, record.sources)
        return query_row(key, query, known, views, self._encodings.digest, now)

    def _content_of(self, record: RequestRecord, key: bytes) -> Content:
        assert record.query is not None
        images = {own: s for s in record.sources if (own := self._sha256.get(s.key) or _file_hash(s))}
        reply = record.reply.said() if record.reply is not None and record.outcome in ("ok", "cut_short") else ""
        return Content(record.request_id, record.tenant, key, record.query.text, images, reply)

    def _keep(self, store: ContentStore, contents: Sequence[Content]) -> None:
        try:
            store.keep(contents, time.time())
        except Exception as error:  # content is optional: the decision is written without it
            self._content_lost_out += len(contents)
            _log.warning("content could not be kept: %s", type(error).__name__)

    def _lose(self, records: Sequence[RequestRecord], error: Exception) -> None:
        """Count a group that the file does not accept; log it for the first of consecutive such groups."""
        self._lost_out += len(records)
        if not self._is_faulty:
            self._is_faulty = True
            _log.error("%s: %s: decisions are lost until the file is repaired or moved away", self._path, error)

    def _write_one_by_one(self, records: Sequence[RequestRecord]) -> None:
        for record in records:
            error = self._error_of(record)
            if error is not None:
                self._lost_out += 1
                _log.warning("%s: a decision could not be kept: %s", record.request_id, type(error).__name__)

    def _error_of(self, record: RequestRecord) -> Exception | None:
        """Write the record alone. Returns its error, if any."""
        last: Exception | None = None
        for _ in range(TRIES_ALONE):
            try:
                self._write([record])
            except Exception as error:
                if fault_of(error) != "passing":
                    return error
                last = error  # locked: not the record's fault
            else:
                return None
        return last

    def _sweep(self) -> None:
        """Remove a few old rows; when none is left, look again later."""
        if time.monotonic() < self._sweep_at:
            return
        try:
            removed = self._content.sweep(time.time()) if self._content is not None else 0
            if self._days is not None:
                removed += remove_old_decisions(self._db, time.time() - self._days * DAY_S)
        except sqlite3.Error as error:
            self._sweep_at = time.monotonic() + SWEEP_EVERY_S / 60
            _log.warning("what is old could not be removed: %s", error)
            return
        if not removed:
            self._sweep_at = time.monotonic() + SWEEP_EVERY_S


_PUT_QUERY = f"""
INSERT INTO queries({", ".join(QueryRow._fields)}) VALUES({", ".join("?" * len(QueryRow._fields))})
ON CONFLICT(key) DO UPDATE SET
    images = CASE WHEN instr(images, ',null]') THEN excluded.images ELSE images END,
    encoder = coalesce(excluded.encoder, encoder), views = coalesce(excluded.views, views),
    embedding = coalesce(excluded.embedding, embedding), seen_at = excluded.seen_at
"""


def _insert(db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    one, start = f"({', '.join('?' * len(DECISION_COLUMNS))})", 0
    for count in AT_ONCE:
        names, places = ", ".join(DECISION_COLUMNS), ", ".join([one] * count)
        statement = f"INSERT OR IGNORE INTO decisions({names}) VALUES {places}"  # noqa: S608
        while len(rows) - start >= count:
            db.execute(statement, [value for row in rows[start : start + count] for value in row])
            start += count


def _size(record: RequestRecord) -> int:
    size = len(record.query.text) if record.query is not None else 0
    for source in record.sources:
        size += source.size
    return size


def _file_hash(source: ImageSource) -> bytes:
    """Return the sha256 of the image's file; empty if its base64 is invalid: then it was not encoded either."""
    try:
        return hashlib.sha256(source.read()).digest()
    except ValueError:
        return b""
