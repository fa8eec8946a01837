"""How a finished request is laid out as a row of the `outcomes` table."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from gateway.core.record import Attempt, RequestRecord

_COLUMNS = {
    "request_id": "TEXT PRIMARY KEY",
    "started_at": "REAL NOT NULL",
    "tenant": "TEXT NOT NULL",
    "candidate": "TEXT",
    "reason": "TEXT NOT NULL",
    "outcome": "TEXT NOT NULL",
    "status": "INTEGER NOT NULL",
    "error_code": "TEXT",
    "streamed": "INTEGER NOT NULL",
    "images": "INTEGER NOT NULL",
    "prompt_bytes": "INTEGER NOT NULL",
    "input_tokens": "INTEGER NOT NULL",
    "output_tokens": "INTEGER NOT NULL",
    "metered": "INTEGER NOT NULL",
    "expected_cost_nanousd": "INTEGER NOT NULL",
    "held_nanousd": "INTEGER NOT NULL",
    "cost_nanousd": "INTEGER NOT NULL",
    "cap_nanousd": "INTEGER",
    "forecast_quality": "REAL",
    "propensity": "REAL NOT NULL",
    "lagrangian": "REAL",
    "attempts": "TEXT NOT NULL",
    "dropped": "TEXT NOT NULL",
    "router_digest": "TEXT NOT NULL",
    "encode_ms": "REAL NOT NULL",
    "first_byte_ms": "REAL",
    "total_ms": "REAL NOT NULL",
    "overhead_ms": "REAL NOT NULL",
    "prices": "TEXT NOT NULL DEFAULT ''",
    "estimated_cost_nanousd": "INTEGER NOT NULL DEFAULT 0",
    "estimated_input_tokens": "INTEGER NOT NULL DEFAULT 0",
    "estimated_output_tokens": "INTEGER NOT NULL DEFAULT 0",
}
OUTCOMES_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS outcomes("
    + ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
    + ") WITHOUT ROWID;"
)
INSERT_OUTCOME = f"INSERT OR IGNORE INTO outcomes VALUES({', '.join('?' * len(_COLUMNS))})"


def columns_to_add(present: Collection[str]) -> list[str]:
    """What brings an older file's table up to this one: columns are only ever added, at the end, with a default."""
    return [f"ALTER TABLE outcomes ADD COLUMN {name} {kind}" for name, kind in _COLUMNS.items() if name not in present]


def row_of(record: RequestRecord) -> tuple[Any, ...]:
    """The record as column values, in the table's order."""
    return (
        record.request_id,
        record.started_at,
        record.tenant,
        record.candidate,
        record.reason,
        record.outcome,
        record.status,
        record.error_code,
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
        record.forecast_quality,
        record.propensity,
        record.lagrangian,
        "[" + ",".join(map(_attempt, record.attempts)) + "]",
        json.dumps(record.dropped) if record.dropped else "[]",
        record.router_digest,
        record.encode_s * 1e3,
        None if record.first_byte_s is None else record.first_byte_s * 1e3,
        record.total_s * 1e3,
        record.overhead_s * 1e3,
        record.prices,
        record.estimated_cost,
        record.estimated_input_tokens,
        record.estimated_output_tokens,
    )


def _attempt(attempt: Attempt) -> str:
    return f"[{_json(attempt.candidate)},{_json(attempt.failure)},{attempt.cost}]"


@lru_cache(4096)
def _json(name: str | None) -> str:
    return json.dumps(name)
