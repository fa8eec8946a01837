"""Finished requests with all that they refer to, and a log of them."""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateway.outcomes.log.content import ContentStore
from gateway.outcomes.log.schema import content_path, decisions_path
from gateway.outcomes.log.writer import DecisionLog
from gateway.pipeline.chat_request import InlineImage, inline_image
from gateway.pipeline.record import RequestRecord, Versions
from gateway.routing.circuit_breaker import always_well
from gateway.routing.decision import CandidateForecast, Decision, Preference, decide
from gateway.routing.exploration import Exploration
from gateway.routing.query import Query
from models.base import ImageSource, Views
from tests.fakes.records import record
from tests.gateway.billing.makers import candidate

CANDIDATES = (candidate("small"), candidate("large"), candidate("blind", sees_images=False))
FORECASTS = {
    "small": CandidateForecast(0.7, 0.05, 40, 60),
    "large": CandidateForecast(0.8, 0.02, 80, 160),
    "blind": CandidateForecast(0.6, 0.1, 30, 50),
}
PICTURE = b"\x89PNG\r\n\x1a\n" + b"a picture, as it were" * 40
VERSIONS = Versions("encoder-1", "prices-1", "configuration-1")


@dataclass
class Encodings:
    """Views that are known for every query but those of `unknown`."""

    unknown: tuple[str, ...] = ()
    digest: str = "encoder-1"

    def peek(self, text: str, images: Sequence[ImageSource]) -> Views | None:
        if text in self.unknown:
            return None
        first = float(len(text))
        return {
            "text": np.array([[first, 0.5, -1.25]], dtype=np.float32),
            "image": np.array([[float(len(images)), 2.0]], dtype=np.float32),
        }


@dataclass
class Said:
    """A reply of so many words."""

    text: str = "the reply's own words"

    def said(self) -> str:
        return self.text


def picture(data: bytes = PICTURE) -> tuple[InlineImage, Any]:
    return inline_image(memoryview(base64.b64encode(data)), 640, 480, "auto")


def decided(query: Query, *, routed: bool = True) -> Decision:
    return decide(
        query,
        CANDIDATES,
        FORECASTS if routed else None,
        Preference(0.0),
        reference_cost=10**8,
        is_healthy=always_well,
    )


def full(
    number: int = 1, text: str = "how many?", pictures: Sequence[bytes] = (PICTURE,), **changes: Any
) -> RequestRecord:
    """A routed request, answered well by `large`, with images."""
    found = [picture(data) for data in pictures]
    query = Query(text, 44, 1, tuple(priced for _, priced in found))
    made: dict[str, Any] = {
        "request_id": f"req_{number}",
        "candidate": "large",
        "attempts": (),
        "images": len(pictures),
        "query": query,
        "sources": tuple(source for source, _ in found),
        "decision": decided(query),
        "versions": VERSIONS,
        "remaining": 5_000_000,
        "finish_reason": "stop",
        **changes,
    }
    return record(**made)


def drawn(best: str, taken: str, propensity: float, uniform: float = 0.25) -> Exploration:
    """A draw between two."""
    return Exploration(((best, 1 - propensity), (taken, propensity)), uniform, taken, best)


def sha256(data: bytes = PICTURE) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def log_at(
    store: Path,
    *,
    days: float | None = None,
    encodings: Encodings | None = None,
    decision_days: float | None = None,
) -> Iterator[DecisionLog]:
    """A running log beside `store`; it keeps content where `days` are given. All is written when the block ends."""
    content = None if days is None else ContentStore(content_path(store), days)
    log = DecisionLog(decisions_path(store), encodings or Encodings(), content, decision_days)
    log.open()
    try:
        yield log
    finally:
        log.close()


def keep(store: Path, *records: RequestRecord, days: float | None = None) -> None:
    with log_at(store, days=days) as log:
        for one in records:
            log.observe(one)
    assert log.lost == 0


def rows(path: Path, query: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query, values).fetchall()
