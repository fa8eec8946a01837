"""A finished request as rows: the decision's, and its query's. Worked out off the path, when they are written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from gateway.core.decision import Decision
from gateway.core.exploration import Exploration
from gateway.core.query import Query
from gateway.core.record import RequestRecord, Versions
from models.base import ImageSource, Views

Decided = Literal["drawn", "determined", "declined", "pinned", "unrouted"]
"""How the candidate came about: by a draw; as the best, there being nothing to draw; in the tenant's order, for want of
forecasts; by the client's word; not at all. Only the first two have propensities.
"""
CANDIDATE_FIELDS = (
    "candidate",
    "quality",
    "quality_std",
    "output_tokens",
    "output_tokens_high",
    "input_tokens",
    "input_ceiling",
    "output_limit",
    "expected_cost_nanousd",
    "worst_cost_nanousd",
    "score",
    "dropped",
    "propensity",
)
"""Ranked, those that were dropped behind. Forecasts (quality to output_tokens_high) are null where routing declined,
and `propensity` where nothing is known of it; `dropped` is null for one that was feasible, else the reason.
"""
_NOTHING_DECIDED = Decision((), ())
_UNKNOWN = Versions("", "", "")
_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode


def decision_row(record: RequestRecord, query_key: bytes | None) -> tuple[Any, ...]:
    """Column values in the order of `tables.DECISION_COLUMNS`."""
    versions = record.versions or _UNKNOWN
    return (
        *_request(record),
        *_decision(record),
        query_key,
        record.router_digest,
        versions.encoder,
        versions.prices,
        versions.configuration,
        record.prices,
        record.encode_s * 1e3,
        None if record.first_byte_s is None else record.first_byte_s * 1e3,
        record.total_s * 1e3,
        record.overhead_s * 1e3,
    )


def how_decided(record: RequestRecord) -> Decided:
    reason, decision = record.reason, record.decision
    if decision is None or not decision.choices:
        return "unrouted"
    if reason.startswith("pinned"):
        return "pinned"
    if reason.startswith("declined") or decision.choices[0].forecast is None:
        return "declined"
    return "determined" if record.exploration is None else "drawn"


def key_of(query: Query, sources: Sequence[ImageSource]) -> bytes:
    """16 bytes that tell contents apart: the text, every image, and which of them were encoded."""
    hashed = hashlib.blake2b(query.text.encode("utf-8", "surrogatepass"), digest_size=16)
    if query.images:
        hashed.update(b"\0images")
        for image in query.images:
            hashed.update(image.key + f"{image.width}x{image.height}{image.detail}".encode())
        hashed.update(b"\0encoded")
        for source in sources:
            hashed.update(source.key)
    return hashed.digest()


def query_row(
    key: bytes, query: Query, sha256: Mapping[bytes, bytes], views: Views | None, encoder: str, seen_at: float
) -> tuple[Any, ...]:
    """Column values of `queries`. `sha256` has the files' own hashes by image key, as far as they are known."""
    images = []
    for image in query.images:
        own = sha256.get(image.key)
        images.append([image.key.hex(), image.width, image.height, image.detail, own.hex() if own else None])
    if views is None:
        return key, _encode(images).decode(), None, None, None, seen_at
    names = sorted(views)
    embedding = np.concatenate([views[name][0] for name in names]).astype(np.float16).tobytes()
    shapes = [[name, views[name].shape[1]] for name in names]
    return key, _encode(images).decode(), encoder, _encode(shapes).decode(), embedding, seen_at


def candidates_of(packed: bytes) -> list[list[Any]]:
    """The candidates of a decision as they were written, each as `CANDIDATE_FIELDS`."""
    found: list[list[Any]] = msgspec.msgpack.decode(packed)
    return found


def views_of(shapes: str, embedding: bytes) -> Views:
    """The views that `query_row` wrote, each [1, dimension]."""
    numbers, views, start = np.frombuffer(embedding, dtype=np.float16).astype(np.float32), {}, 0
    for name, dimension in msgspec.json.decode(shapes):
        views[name] = numbers[None, start : start + dimension]
        start += dimension
    return views


def _request(record: RequestRecord) -> tuple[Any, ...]:
    """`request_id` to `lagrangian`."""
    return (
        record.request_id,
        record.started_at,
        record.tenant,
        record.candidate,
        record.reason,
        record.outcome,
        record.status,
        record.error_code,
        record.finish_reason,
        record.streamed,
        record.images,
        record.prompt_bytes,
        record.input_tokens,
        record.output_tokens,
        record.metered,
        record.expected_cost,
        record.held,
        record.cost,
        record.cap,
        record.remaining,
        ",".join(record.exceeded),
        record.forecast_quality,
        record.estimated_cost,
        record.estimated_input_tokens,
        record.estimated_output_tokens,
        record.lagrangian,
    )


def _decision(record: RequestRecord) -> tuple[Any, ...]:
    """`decided` to `attempts`."""
    decision, drawn, decided = record.decision or _NOTHING_DECIDED, record.exploration, how_decided(record)
    first = decision.choices[0].candidate.name if decision.choices else None
    known = decided in ("drawn", "determined")
    propensities = _propensities(decision, drawn) if known else None
    return (
        decided,
        first,
        drawn.best if drawn else None,
        drawn.uniform if drawn else None,
        record.propensity or None if known and record.candidate == first else None,  # of what was taken
        _pack(_candidates(decision, propensities)),
        _encode(record.attempts).decode(),
    )


def _propensities(decision: Decision, drawn: Exploration | None) -> dict[str, float]:
    if drawn is not None:
        return dict(drawn.propensities)
    return {decision.choices[0].candidate.name: 1.0}


def _candidates(decision: Decision, propensities: Mapping[str, float] | None) -> list[tuple[Any, ...]]:
    """Every row of the decision as `CANDIDATE_FIELDS`. Written for speed: there are many of them a request."""
    found = []
    for row in (*decision.choices, *decision.dropped):
        forecast, name = row.forecast, row.candidate.name
        found.append(
            (
                name,
                forecast and forecast.quality,
                forecast and forecast.quality_std,
                forecast and forecast.output_tokens,
                forecast and forecast.output_tokens_high,
                row.input_tokens,
                row.input_ceiling,
                row.output_limit,
                row.expected_cost,
                row.ceiling,
                row.score,
                row.dropped,
                propensities and propensities.get(name, 0.0),
            )
        )
    return found
