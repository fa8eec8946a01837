"""Labels, stored in the file of their decisions. A source's last label for a request counts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from gateway.errors import StoreError
from gateway.outcomes.label import LATEST_S, MOST_SOURCES, Label, LabelError, LabelResult
from gateway.outcomes.log.schema import DECISIONS, open_decisions, reading

PATIENCE_MS = 5_000
"""Milliseconds that a label waits for other transactions."""


class UnknownRequest(LookupError):
    """No decision of this tenant has that id (yet)."""


def put_labels(path: Path, labels: list[Label], now: float, tenant: str | None = None) -> list[LabelResult]:
    """Store labels in the file of decisions, all or none, in one transaction. Returns the labelled requests.

    With `tenant`, only its own requests can be labelled. Raises UnknownRequest, LabelError and StoreError. Blocks.
    """
    if not path.is_file():
        raise UnknownRequest(labels[0].request_id if labels else "")
    with closing(open_decisions(path)) as db:
        try:
            db.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
            db.execute("BEGIN IMMEDIATE")
            try:
                found = [_put(db, label, now, tenant) for label in labels]
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}") from error
    return found


def probabilities(path: Path, source: str) -> dict[str, float]:
    """Return request id -> probability, for the labels that a source has given. Raises StoreError."""
    with reading(path, DECISIONS) as db:
        rows = db.execute("SELECT request_id, probability FROM labels WHERE source = ?", (source,)).fetchall()
    return {row["request_id"]: row["probability"] for row in rows}


def _put(db: sqlite3.Connection, label: Label, now: float, tenant: str | None) -> LabelResult:
    row = db.execute(_DECISION, (label.request_id,)).fetchone()
    if row is None or tenant not in (None, row[0]):
        raise UnknownRequest(label.request_id)
    owner, candidate, images, outcome, started_at = row
    if candidate is None or outcome not in ("ok", "cut_short", "client_left"):
        raise LabelError(f"{label.request_id} was not answered: there is nothing to label", "request_id", "no_answer")
    if now - started_at > LATEST_S:
        what = f"{label.request_id} is older than {LATEST_S / 86_400:.0f} days: it cannot be labelled any more"
        raise LabelError(what, "request_id", "label_too_late")
    others = [source for (source,) in db.execute("SELECT source FROM labels WHERE request_id = ?", (label.request_id,))]
    is_new = label.source not in others
    if is_new and len(others) >= MOST_SOURCES:
        raise LabelError(f"{label.request_id} has labels of {MOST_SOURCES} sources already", "source")
    db.execute(
        "INSERT OR REPLACE INTO labels(request_id, source, tenant, score, version, probability, comment, labelled_at)"
        " VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        (
            label.request_id,
            label.source,
            owner,
            label.score,
            label.version,
            label.probability,
            label.comment,
            now,
        ),
    )
    return LabelResult(owner, candidate, "image" if images else "text", is_new)


_DECISION = "SELECT tenant, candidate, images, outcome, started_at FROM decisions WHERE request_id = ?"
