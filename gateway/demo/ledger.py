"""The charges, by the gateway's store and by the pool's own count: the two must agree to the nanodollar."""

from __future__ import annotations

import http.client
import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.billing.price import cost
from gateway.demo.services import HOST
from gateway.providers.replay.candidates import DemoCandidate
from gateway.providers.replay.tally import LOG_ENTRIES


@dataclass(frozen=True, slots=True)
class Ledger:
    """The charges of a run. Money in nanodollars.

    Attributes:
        spent: the spend in the budget windows of all tenants.
        held: the amount still held: zero once every request is settled.
        charges: the sum of the recorded requests' costs.
        spend: candidate -> the cost of its requests.
        overhead_ms: time that Loupe added to each answered request; `beside_encoding_ms` is without the encoder.
    """

    spent: int
    held: int
    charges: int
    requests: int
    spend: Mapping[str, int]
    overhead_ms: tuple[float, ...]
    beside_encoding_ms: tuple[float, ...]


def read_ledger(store: Path) -> Ledger:
    """Read the store of a gateway that has stopped, and the log of decisions in the same folder."""
    with _reading(store) as database:
        spent, held = database.execute("SELECT sum(spent), sum(held) FROM windows").fetchone()
    with _reading(store.with_name(f"{store.stem}-decisions{store.suffix}")) as database:
        charges, requests = database.execute("SELECT sum(cost_nanousd), count(*) FROM decisions").fetchone()
        spend = database.execute(
            "SELECT candidate, sum(cost_nanousd) FROM decisions WHERE candidate IS NOT NULL GROUP BY candidate"
        ).fetchall()
        overhead = database.execute(
            "SELECT overhead_ms, overhead_ms - encode_ms FROM decisions WHERE outcome = 'ok'"
        ).fetchall()
    return Ledger(
        spent=spent or 0,
        held=held or 0,
        charges=charges or 0,
        requests=requests,
        spend=dict(spend),
        overhead_ms=tuple(row[0] for row in overhead),
        beside_encoding_ms=tuple(row[1] for row in overhead),
    )


def _reading(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True))


def read_pool_log(port: int) -> list[dict[str, Any]]:
    """Return what the pool says it served, one entry per request."""
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", f"/replay/counts?log={LOG_ENTRIES}")
        log = json.load(connection.getresponse())["log"]
    finally:
        connection.close()
    return list(log)


def pool_bill(log: Sequence[Mapping[str, Any]], candidates: Sequence[DemoCandidate]) -> int:
    """Return the nanodollars for everything that the pool served, each request rounded up as a bill is."""
    prices = {candidate.name: candidate.price() for candidate in candidates}
    return sum(cost(prices[entry["model"]], entry["prompt_tokens"], entry["completion_tokens"]) for entry in log)
