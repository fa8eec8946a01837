"""A finished request as rows of the log: the decision's and its query's. Computed off the request
path, when written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from gateway.pipeline.record import RequestRecord, Source, Versions, reader
from gateway.routing.decision import Decision
from gateway.routing.exploration import Exploration
from gateway.routing.query import Query
from models.base import ImageSource, Views

Decided = Literal["drawn", "determined", "declined", "pinned", "unrouted"]
"""How the candidate was chosen: `drawn` at random; `determined` as the best, with nothing to draw; `declined`, by the
tenant's order without forecasts; `pinned` by the client; `unrouted`, not at all. Only the first two have propensities.
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
"""The fields of a candidate; ranked candidates come first, dropped ones last. Forecasts (quality to output_tokens_high)
are null if routing declined, and `propensity` is null if unknown; `dropped` is null for a feasible candidate, else the
reason.
"""
_NOTHING_DECIDED = Decision((), ())
_UNKNOWN = Versions("", "", "")
_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode


def decision_row(record: RequestRecord, query_key: bytes | None) -> tuple[Any, ...]:
    """Return the column values in the order of `DECISION_COLUMNS`."""
    decision, drawn, decided = record.decision or _NOTHING_DECIDED, record.exploration, how_decided(record)
    first = decision.choices[0].candidate.name if decision.choices else None
    known = decided in ("drawn", "determined")
    propensities = _propensities(decision, drawn) if known else None
    row: tuple[Any, ...] = _row(
        record,
        decided=decided,
        first_choice=first,
        taken_propensity=record.propensity or None if known and record.candidate == first else None,
        packed=_pack(_candidates(decision, propensities)),
        tried=_encode([attempt[:3] for attempt in record.attempts]).decode(),
        query_key=query_key,
        versions=record.versions or _UNKNOWN,
    )
    return row


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
    """Return 16 bytes that identify a content: the text, every image, and which images were encoded."""
    hashed = hashlib.blake2b(query.text.encode("utf-8", "surrogatepass"), digest_size=16)
    if query.images:
        hashed.update(b"\0images")
        for image in query.images:
            hashed.update(image.key + f"{image.width}x{image.height}{image.detail}".encode())
        hashed.update(b"\0encoded")
        for source in sources:
            hashed.update(source.key)
    return hashed.digest()


class QueryRow(NamedTuple):
    """A row of `queries`, by its columns."""

    key: bytes
    images: str
    encoder: str | None
    views: str | None
    embedding: bytes | None
    seen_at: float


def query_row(
    key: bytes, query: Query, sha256: Mapping[bytes, bytes], views: Views | None, encoder: str, seen_at: float
) -> QueryRow:
    """Return the row of a query. `sha256` has the files' own hashes by image key, as far as they are known."""
    images = []
    for image in query.images:
        own = sha256.get(image.key)
        images.append([image.key.hex(), image.width, image.height, image.detail, own.hex() if own else None])
    if views is None:
        return QueryRow(key, _encode(images).decode(), None, None, None, seen_at)
    names = sorted(views)
    embedding = np.concatenate([views[name][0] for name in names]).astype(np.float16).tobytes()
    shapes = [[name, views[name].shape[1]] for name in names]
    return QueryRow(key, _encode(images).decode(), encoder, _encode(shapes).decode(), embedding, seen_at)


def candidates_of(packed: bytes) -> list[list[Any]]:
    """Return the candidates of a decision as they were written, each as `CANDIDATE_FIELDS`."""
    found: list[list[Any]] = msgspec.msgpack.decode(packed)
    return found


def views_of(shapes: str, embedding: bytes) -> Views:
    """Return the views that `query_row` wrote, each [1, dimension]."""
    numbers, views, start = np.frombuffer(embedding, dtype=np.float16).astype(np.float32), {}, 0
    for name, dimension in msgspec.json.decode(shapes):
        views[name] = numbers[None, start : start + dimension]
        start += dimension
    return views


def _propensities(decision: Decision, drawn: Exploration | None) -> dict[str, float]:
    if drawn is not None:
        return dict(drawn.propensities)
    return {decision.choices[0].candidate.name: 1.0}


def _candidates(decision: Decision, propensities: Mapping[str, float] | None) -> list[tuple[Any, ...]]:
    """Return every row of the decision as `CANDIDATE_FIELDS`. Written for speed, because a request has many of them."""
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
                row.max_cost,
                row.score,
                row.dropped,
                propensities and propensities.get(name, 0.0),
            )
        )
    return found


_MS = "{0} * 1e3"
_WORKED_OUT = ("decided", "first_choice", "taken_propensity", "packed", "tried", "query_key", "versions")
"""The parts of a row that are not a field of the record: see `decision_row`."""
DECISION_COLUMNS: Mapping[str, Source] = {
    "request_id": "request_id",
    "started_at": "started_at",
    "tenant": "tenant",
    "candidate": "candidate",
    "reason": "reason",
    "outcome": "outcome",
    "status": "status",
    "error_code": "error_code",
    "finish_reason": "finish_reason",
    "streamed": "streamed",
    "images": "images",
    "prompt_bytes": "prompt_bytes",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "metered": "metered",
    "expected_cost_nanousd": "expected_cost",
    "held_nanousd": "held",
    "cost_nanousd": "cost",
    "cap_nanousd": "cap",
    "remaining_nanousd": "remaining",
    "exceeded": ("exceeded", "','.join({0})"),
    "forecast_quality": "forecast_quality",
    "estimated_cost_nanousd": "estimated_cost",
    "estimated_input_tokens": "estimated_input_tokens",
    "estimated_output_tokens": "estimated_output_tokens",
    "lagrangian": "price_weight",
    "decided": "decided",
    "first_choice": "first_choice",
    "best": ("exploration", "{0}.best if {0} else None"),
    "uniform": ("exploration", "{0}.uniform if {0} else None"),
    "propensity": "taken_propensity",
    "candidates": "packed",
    "attempts": "tried",
    "query_key": "query_key",
    "router_digest": "router_digest",
    "encoder_digest": ("versions", "{0}.encoder"),
    "prices_digest": ("versions", "{0}.prices"),
    "configuration_digest": ("versions", "{0}.configuration"),
    "prices": "prices",
    "encode_ms": ("encode_s", _MS),
    "first_byte_ms": ("first_byte_s", f"None if {{0}} is None else {_MS}"),
    "total_ms": ("total_s", _MS),
    "overhead_ms": ("overhead_s", _MS),
}
"""The columns of the table `decisions`, and the part of a record or of `_WORKED_OUT` that each holds. Their types are
in the steps of `schema.DECISIONS`: to add a column, add a line here and a step there.
"""
_row = reader(DECISION_COLUMNS.values(), parameters=_WORKED_OUT)
