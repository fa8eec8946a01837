"""The reader of the log: one decision as its tenant sees it, and answers whose content was kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.billing.money import NANODOLLARS
from gateway.outcomes.log.rows import CANDIDATE_FIELDS, candidates_of
from gateway.outcomes.log.schema import CONTENT, DECISIONS, content_path, decisions_path, reading

_MONEY = "_nanousd"
_HIDDEN = ("request_id", "tenant", "query_key", "image_facts")
ROWS_AT_ONCE = 1_000


def decision_of(path: Path, tenant: str, request_id: str) -> dict[str, Any] | None:
    """Return a decision by its id, for the tenant that made it; None for any other tenant. Money in USD. Raises
    StoreError.
    """
    if not path.is_file():
        return None
    with reading(path, DECISIONS) as db:
        row = db.execute(
            "SELECT d.*, q.images AS image_facts, q.encoder AS embedded_by FROM decisions d"
            " LEFT JOIN queries q ON q.key = d.query_key WHERE d.request_id = ? AND d.tenant = ?",
            (request_id, tenant),
        ).fetchone()
        if row is None:
            return None
        labels = db.execute(
            "SELECT source, version, score, probability, comment, labelled_at FROM labels WHERE request_id = ?",
            (request_id,),
        ).fetchall()
    return _shown(row, [dict(label) for label in labels])


@dataclass(frozen=True, slots=True)
class LoggedAnswer:
    """An answered request whose content was kept.

    `images` are the files that exist out of `image_count`; `reply` is the first choice's text.
    """

    request_id: str
    started_at: float
    tenant: str
    candidate: str
    question: str
    images: tuple[bytes, ...]
    reply: str
    sources: tuple[str, ...]
    """The sources that have already labelled it."""
    image_count: int = 0


def logged_answers(
    store: Path, *, since: float = 0.0, until: float | None = None, tenant: str | None = None
) -> Iterator[LoggedAnswer]:
    """Yield the answers of the gateway with this `store.path`, oldest first, read in batches. Raises StoreError."""
    with ExitStack() as stack:
        log = stack.enter_context(reading(decisions_path(store), DECISIONS))
        content = stack.enter_context(reading(content_path(store), CONTENT))
        last = (since, "")
        while True:
            rows = log.execute(
                _ANSWERS, {"at": last[0], "id": last[1], "until": until, "tenant": tenant, "limit": ROWS_AT_ONCE}
            ).fetchall()
            for row in rows:
                found = _answer(content, row)
                if found is not None:
                    yield found
            if len(rows) < ROWS_AT_ONCE:
                return
            last = (rows[-1]["started_at"], rows[-1]["request_id"])


_ANSWERS = """
SELECT d.request_id, d.started_at, d.tenant, d.candidate, d.query_key, q.images,
    (SELECT json_group_array(source) FROM labels l WHERE l.request_id = d.request_id) AS sources
FROM decisions d JOIN queries q ON q.key = d.query_key
WHERE (d.started_at, d.request_id) > (:at, :id) AND (:until IS NULL OR d.started_at < :until)
    AND (:tenant IS NULL OR d.tenant = :tenant) AND d.candidate IS NOT NULL AND d.outcome IN ('ok', 'cut_short')
ORDER BY d.started_at, d.request_id LIMIT :limit
"""


def _answer(content: sqlite3.Connection, row: sqlite3.Row) -> LoggedAnswer | None:
    tenant = row["tenant"]
    reply = content.execute("SELECT text FROM replies WHERE request_id = ?", (row["request_id"],)).fetchone()
    question = content.execute(
        "SELECT text FROM questions WHERE tenant = ? AND key = ?", (tenant, row["query_key"])
    ).fetchone()
    if reply is None or question is None:
        return None
    images = json.loads(row["images"])
    hashes = [bytes.fromhex(image[4]) for image in images if image[4]]
    query = "SELECT data FROM pictures WHERE tenant = ? AND sha256 = ?"
    pictures = [content.execute(query, (tenant, own)).fetchone() for own in hashes]
    return LoggedAnswer(
        request_id=row["request_id"],
        started_at=row["started_at"],
        tenant=tenant,
        candidate=row["candidate"],
        question=question[0],
        images=tuple(picture[0] for picture in pictures if picture is not None),
        reply=reply[0],
        sources=tuple(json.loads(row["sources"])),
        image_count=len(images),
    )


def _shown(row: sqlite3.Row, labels: list[dict[str, Any]]) -> dict[str, Any]:
    images = json.loads(row["image_facts"] or "[]")
    known = dict(row)
    return {
        "object": "decision",
        "id": row["request_id"],
        **_in_usd({name: value for name, value in known.items() if name not in _HIDDEN}),
        "streamed": bool(row["streamed"]),
        "metered": bool(row["metered"]),
        "exceeded": row["exceeded"].split(",") if row["exceeded"] else [],
        "images": [dict(zip(("key", "width", "height", "detail", "sha256"), image, strict=True)) for image in images],
        "candidates": [_in_usd(dict(zip(CANDIDATE_FIELDS, c, strict=True))) for c in candidates_of(row["candidates"])],
        "attempts": [
            {"candidate": name, "failure": failure, "cost_usd": cost / NANODOLLARS}
            for name, failure, cost in json.loads(row["attempts"])
        ],
        "labels": labels,
    }


def _in_usd(values: dict[str, Any]) -> dict[str, Any]:
    """Replace each `x_nanousd` by `x_usd`."""
    return {
        name.removesuffix(_MONEY) + "_usd" if name.endswith(_MONEY) else name: (
            value / NANODOLLARS if name.endswith(_MONEY) and value is not None else value
        )
        for name, value in values.items()
    }
