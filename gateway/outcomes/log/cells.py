"""Decisions joined with their labels: the content of an outcome table."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.outcomes.log.rows import candidates_of
from gateway.outcomes.log.schema import DECISIONS, reading

FAILED_OVER = "failed_over"
"""`decided` of a cell whose candidate was not the first choice: the drawn candidate did not serve."""
WEIGHED = ("drawn", "determined")


@dataclass(frozen=True, slots=True)
class Range:
    """A range of decisions: begun in [since, until), seconds since the epoch, of one tenant or all."""

    since: float = 0.0
    until: float | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class LoggedImage:
    """An image: `key` is the hash of the image as it came, `sha256` that of its file, if known; both hex."""

    key: str
    width: int
    height: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class LoggedQuery:
    """A query in the log. `embedding` holds `views` in half precision, as `rows.views_of` reads it."""

    key: bytes
    images: tuple[LoggedImage, ...]
    encoder: str | None
    views: str | None
    embedding: bytes | None


@dataclass(frozen=True, slots=True)
class Cell:
    """An answered decision. Money in nanodollars.

    Attributes:
        decided: `rows.Decided`, or FAILED_OVER.
        candidates: all candidates that could be chosen.
        score: score of the label that counts, None without a label; `source` and `probability` are that label's.
        propensity: probability with which `candidate` was taken; None if no policy decided, or another was taken.
    """

    request_id: str
    started_at: float
    tenant: str
    candidate: str
    decided: str
    candidates: tuple[str, ...]
    propensity: float | None
    score: float | None
    source: str
    probability: float | None
    input_tokens: int
    output_tokens: int
    cost: int
    total_ms: float
    router_digest: str
    query_key: bytes

    @property
    def weight(self) -> float | None:
        """The weight 1 / (propensity x label probability); None if there is no propensity, or no label."""
        if self.propensity is None or self.probability is None:
            return None
        return 1 / (self.propensity * self.probability)


def cells(path: Path, wanted: Range, label_sources: Sequence[str] = ()) -> Iterator[Cell]:
    """Yield the answered decisions of a log, oldest first. Raises StoreError.

    Of several labels the newest counts. With `label_sources`, the label of the first of these sources that has one
    counts, and no other.
    """
    values = {"since": wanted.since, "until": wanted.until, "tenant": wanted.tenant}
    with reading(path, DECISIONS) as db:
        for row in db.execute(_DECISIONS, values):
            labels = db.execute(_LABELS, (row["request_id"],)).fetchall()
            yield _cell(row, _choose(labels, label_sources))


def queries(path: Path, keys: Sequence[bytes]) -> Iterator[LoggedQuery]:
    """Yield what is known about these contents. Raises StoreError."""
    with reading(path, DECISIONS) as db:
        for key in keys:
            row = db.execute("SELECT images, encoder, views, embedding FROM queries WHERE key = ?", (key,)).fetchone()
            if row is not None:
                images = (LoggedImage(i[0], i[1], i[2], i[4]) for i in json.loads(row["images"]))
                yield LoggedQuery(key, tuple(images), row["encoder"], row["views"], row["embedding"])


_DECISIONS = """
SELECT request_id, started_at, tenant, candidate, decided, first_choice, propensity, candidates, attempts, input_tokens,
    output_tokens, cost_nanousd, total_ms, router_digest, query_key
FROM decisions
WHERE started_at >= :since AND (:until IS NULL OR started_at < :until) AND (:tenant IS NULL OR tenant = :tenant)
    AND candidate IS NOT NULL AND query_key IS NOT NULL AND outcome IN ('ok', 'cut_short', 'client_left')
ORDER BY started_at, request_id
"""
_LABELS = """
SELECT source, version, score, probability FROM labels WHERE request_id = ? ORDER BY labelled_at DESC, source
"""


def _choose(labels: Sequence[sqlite3.Row], wanted: Sequence[str]) -> sqlite3.Row | None:
    if not wanted:
        return labels[0] if labels else None
    by_source = {label["source"]: label for label in labels}
    return next((by_source[source] for source in wanted if source in by_source), None)


def _cell(row: sqlite3.Row, label: sqlite3.Row | None) -> Cell:
    failed = any(failure is not None for _, failure, _ in json.loads(row["attempts"]))
    decided = row["decided"]
    if failed or (decided != "pinned" and row["candidate"] != row["first_choice"]):
        decided = FAILED_OVER
    source = ""
    if label is not None:
        source = f"{label['source']}@{label['version']}" if label["version"] else label["source"]
    return Cell(
        request_id=row["request_id"],
        started_at=row["started_at"],
        tenant=row["tenant"],
        candidate=row["candidate"],
        decided=decided,
        candidates=tuple(each[0] for each in candidates_of(row["candidates"])),
        propensity=row["propensity"] if decided in WEIGHED else None,
        score=None if label is None else label["score"],
        source=source,
        probability=None if label is None else label["probability"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cost=row["cost_nanousd"],
        total_ms=row["total_ms"],
        router_digest=row["router_digest"],
        query_key=row["query_key"],
    )
