"""The gateway before the pool of unlike providers: its configuration, and its own books after the run."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.providers.client import KEY
from benchmarks.providers.families import FAMILIES


@dataclass(frozen=True)
class Charged:
    """What the gateway wrote down for one request: nanodollars, and whether it counted itself (`metered`)."""

    request_id: str
    outcome: str
    cost: int
    metered: bool
    inputs: int
    outputs: int
    attempts: str


def write_config(folder: Path, port: int, pool_port: int, suffix: str = "") -> Path:
    """Write the configuration: all twelve at their own addresses, reached through the pool as an HTTP proxy.

    `suffix` is added to each host name. Only what an operator has to know is declared: prices, formulas, contexts,
    files, and what a provider ignores in silence.
    """
    config: dict[str, Any] = {
        "server": {"host": "127.0.0.1", "port": port},
        "store": {"path": str(folder / "loupe.sqlite")},
        "log": {"path": str(folder / "requests.jsonl")},
        "encoder": {"timeout_ms": 10_000},
        "max_attempts": len(FAMILIES),
        "providers": {
            f.name: {
                "base_url": f"http://{f.host}{suffix}{f.path}",
                "proxy": f"http://127.0.0.1:{pool_port}",
                **f.provider,
            }
            for f in FAMILIES
        },
        "candidates": [
            {
                "name": f.name,
                "provider": f.name,
                "provider_model": f.model,
                "forecast_as": f.forecast_as,
                "input_usd_per_mtok": f.usd[0],
                "output_usd_per_mtok": f.usd[1],
                **({} if f.cached_usd is None else {"cached_input_usd_per_mtok": f.cached_usd}),
                "image_tokens": f.formula,
                "context_tokens": f.context,
                "max_output_tokens": f.most_output,
                **f.declared,
            }
            for f in FAMILIES
        ],
        "tenants": [
            {"name": "bench", "keys": [{"sha256": hashlib.sha256(KEY.encode()).hexdigest()}], "budget": {"usd": 10_000}}
        ],
    }
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def charged(folder: Path) -> dict[str, Charged]:
    """Return the decision log's row of every request, by request id, after the gateway has ended."""
    with closing(sqlite3.connect(folder / "loupe-decisions.sqlite")) as db:
        rows = db.execute(
            "SELECT request_id, outcome, cost_nanousd, metered, input_tokens, output_tokens, attempts FROM decisions"
        )
        return {row[0]: Charged(row[0], row[1], row[2], bool(row[3]), *row[4:]) for row in rows}


def window(folder: Path) -> tuple[int, int]:
    """Return what the ledger's window says was spent and is still held, in nanodollars."""
    with closing(sqlite3.connect(folder / "loupe.sqlite")) as db:
        spent, held = db.execute("SELECT sum(spent), sum(held) FROM windows").fetchone()
        return spent, held
