"""Content that the operator chose to keep: questions, images and replies, in a separate file.

Kept by tenant: if two tenants sent the same content, each has a copy, so that one tenant's can be deleted. Deleted
content is overwritten in the file (`secure_delete`), and the write-ahead log is emptied.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import StoreError
from gateway.outcomes.log.retention import DAY_S, REMOVED_AT_ONCE, remove_some
from gateway.outcomes.log.schema import CONTENT, content_path, decisions_path, open_content, open_decisions, reading
from models.base import ImageSource

LONGEST_QUESTION = 262_144
LONGEST_REPLY = 65_536
"""The most characters of a reply that are kept."""
SEEN_AGAIN_S = 3_600.0
"""Seconds after which content that is seen again is marked as newer, so that not every request writes."""
TABLES = ("questions", "pictures", "replies")


@dataclass(frozen=True, slots=True)
class Content:
    """The content of one request. `images` are by the sha256 of their files; `reply` is empty if there was none."""

    request_id: str
    tenant: str
    query_key: bytes
    question: str
    images: Mapping[bytes, ImageSource]
    reply: str


class ContentStore:
    """The writer of content, used only by the log's thread. Content is removed `days` after it was last seen."""

    def __init__(self, path: Path, days: float) -> None:
        self._path = path
        self._days = days

    def open(self) -> None:
        """Open the file. Raises StoreError."""
        self._db = open_content(self._path)

    def close(self) -> None:
        self._db.close()

    def keep(self, contents: Sequence[Content], now: float) -> None:
        """Keep a group in one transaction. Raises sqlite3.Error: then nothing of the group is kept."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            for each in contents:
                question = _as_text(each.question[:LONGEST_QUESTION])
                db.execute(_QUESTION, (each.tenant, each.query_key, question, now, SEEN_AGAIN_S))
                for sha256, source in each.images.items():
                    self._keep_picture(each.tenant, sha256, source, now)
                if each.reply:
                    reply = _as_text(each.reply[:LONGEST_REPLY])
                    db.execute(_REPLY, (each.request_id, each.tenant, reply, now))
            db.execute("COMMIT")
        except Exception:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def sweep(self, now: float) -> int:
        """Remove some old content. Returns the number of rows: 0 when all is done. Raises sqlite3.Error."""
        return sum(remove_some(self._db, table, "seen_at < ?", now - self._days * DAY_S) for table in TABLES)

    def _keep_picture(self, tenant: str, sha256: bytes, source: ImageSource, now: float) -> None:
        where = "WHERE tenant = ? AND sha256 = ?"
        seen = self._db.execute(f"SELECT seen_at FROM pictures {where}", (tenant, sha256)).fetchone()  # noqa: S608
        if seen is None:
            self._db.execute(
                "INSERT INTO pictures(tenant, sha256, data, seen_at) VALUES(?, ?, ?, ?)",
                (tenant, sha256, source.read(), now),
            )
        elif seen[0] < now - SEEN_AGAIN_S:
            self._db.execute(f"UPDATE pictures SET seen_at = ? {where}", (now, tenant, sha256))  # noqa: S608


_REPLY = "INSERT OR IGNORE INTO replies(request_id, tenant, text, seen_at) VALUES(?, ?, ?, ?)"
_QUESTION = """
INSERT INTO questions(tenant, key, text, seen_at) VALUES(?1, ?2, ?3, ?4)
ON CONFLICT(tenant, key) DO UPDATE SET seen_at = excluded.seen_at WHERE seen_at < excluded.seen_at - ?5
"""


_DELETE_COMMENTS = "UPDATE labels SET comment = NULL WHERE tenant = ? AND comment IS NOT NULL"


def delete_content(store: Path, tenant: str) -> int:
    """Delete all content of a tenant for good, including the comments of its labels. Returns the number of rows.

    `store` is the gateway's `store.path`. Raises StoreError.
    """
    deleted = 0
    for path, opened in ((content_path(store), open_content), (decisions_path(store), open_decisions)):
        if not path.is_file():
            continue
        db = opened(path)
        try:
            db.execute("PRAGMA busy_timeout = 10000")
            if opened is open_content:
                deleted += sum(_delete(db, table, "tenant = ?", tenant) for table in TABLES)
            else:
                deleted += db.execute(_DELETE_COMMENTS, (tenant,)).rowcount
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}") from error
        finally:
            db.close()
    return deleted


def questions(path: Path, wanted: Collection[tuple[str, bytes]]) -> dict[tuple[str, bytes], str]:
    """Return (tenant, query key) -> text of the kept questions. Raises StoreError."""
    with reading(path, CONTENT) as db:
        query = "SELECT text FROM questions WHERE tenant = ? AND key = ?"
        found = {key: db.execute(query, key).fetchone() for key in wanted}
    return {key: row[0] for key, row in found.items() if row is not None}


def write_pictures(path: Path, wanted: Collection[tuple[str, str]], folder: Path) -> dict[tuple[str, str], Path]:
    """Write the kept images into `folder`. Returns (tenant, hex sha256) -> file. Raises StoreError and OSError."""
    found = {}
    with reading(path, CONTENT) as db:
        for tenant, sha256 in wanted:
            key = (tenant, bytes.fromhex(sha256))
            row = db.execute("SELECT data FROM pictures WHERE tenant = ? AND sha256 = ?", key).fetchone()
            if row is not None:
                folder.mkdir(parents=True, exist_ok=True)
                file = folder / f"{sha256}{_ending(row[0])}"
                file.write_bytes(row[0])
                found[(tenant, sha256)] = file
    return found


def _ending(data: bytes) -> str:
    endings = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp"}
    return next((ending for begins, ending in endings.items() if data.startswith(begins)), "")


def _delete(db: sqlite3.Connection, table: str, where: str, value: object) -> int:
    """Delete all such rows, a few per transaction, so that no other process waits long."""
    deleted = 0
    while True:
        count = remove_some(db, table, where, value)
        deleted += count
        if count < REMOVED_AT_ONCE:
            return deleted


def _as_text(text: str) -> str:
    """Replace lone surrogates, which JSON may contain but UTF-8 may not."""
    return text.encode("utf-8", "replace").decode()
