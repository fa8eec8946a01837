"""Logged answers whose content was kept: what was asked, and what was said to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.decision_log.cells import Range, cells, queries
from gateway.decision_log.content import LONGEST_REPLY
from gateway.decision_log.tables import content_path, decisions_path, reading


@dataclass(frozen=True, slots=True)
class LoggedAnswer:
    """`images` are the hex sha256 of the files that were asked about; `is_cut` where the reply's end was not kept."""

    request_id: str
    started_at: float
    tenant: str
    candidate: str
    question: str
    images: tuple[str, ...]
    reply: str

    @property
    def is_cut(self) -> bool:
        return len(self.reply) >= LONGEST_REPLY


def answers(store: Path, wanted: Range) -> Iterator[LoggedAnswer]:
    """Those of a gateway's log (`store` is its `store.path`), oldest first. Raises StoreError."""
    found = list(cells(decisions_path(store), wanted))
    keys = list(dict.fromkeys(cell.query_key for cell in found))
    images = {query.key: query.images for query in queries(decisions_path(store), keys)}
    with reading(content_path(store)) as db:
        for cell in found:
            values = {"request": cell.request_id, "tenant": cell.tenant, "key": cell.query_key}
            row = db.execute(_CONTENT, values).fetchone()
            if row is not None:
                yield LoggedAnswer(
                    request_id=cell.request_id,
                    started_at=cell.started_at,
                    tenant=cell.tenant,
                    candidate=cell.candidate,
                    question=row["question"],
                    images=tuple(image.sha256 for image in images.get(cell.query_key, ()) if image.sha256),
                    reply=row["reply"],
                )


def labels_of(store: Path, source: str) -> dict[str, float]:
    """Request id -> probability, of the labels that a source has given. Raises StoreError."""
    with reading(decisions_path(store)) as db:
        rows = db.execute("SELECT request_id, probability FROM labels WHERE source = ?", (source,)).fetchall()
    return {row["request_id"]: row["probability"] for row in rows}


_CONTENT = """
SELECT q.text AS question, r.text AS reply FROM replies r JOIN questions q ON q.tenant = r.tenant AND q.key = :key
WHERE r.request_id = :request AND r.tenant = :tenant
"""
