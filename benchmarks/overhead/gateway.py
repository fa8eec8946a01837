"""The gateway as the overhead benchmark runs it, with everything on, and the audit of its work afterwards."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.common.canned_provider import COMPLETION_TOKENS, PROMPT_TOKENS
from benchmarks.overhead.workloads import KEY

BUDGET_USD = 100_000
PRICES = {
    "GPT-4o": (2.5, 10.0),
    "Gemini-1.5-Pro": (1.25, 5.0),
    "Claude-3.5-Sonnet": (3.0, 15.0),
    "InternVL2-8B": (0.1, 0.2),
    "InternVL2-76B": (0.9, 0.9),
    "Qwen2-VL-7B": (0.15, 0.15),
    "Qwen2-VL-72B": (0.8, 0.8),
    "Llama-3.2-90B-Vision": (0.7, 0.75),
}
"""Candidate -> USD per million tokens, in and out. The prices only need to differ; their values do not matter here."""
IMAGE_TOKENS = {
    "GPT-4o": "openai_tiles",
    "Gemini-1.5-Pro": "gemini_tiles",
    "Claude-3.5-Sonnet": "anthropic_area",
    "InternVL2-8B": "internvl_tiles",
    "InternVL2-76B": "internvl_tiles",
    "Qwen2-VL-7B": "qwen_patches",
    "Qwen2-VL-72B": "qwen_patches",
    "Llama-3.2-90B-Vision": "flat:1601",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One value of the audit: the value found, and the value expected."""

    name: str
    found: object
    expected: object

    @property
    def holds(self) -> bool:
        return self.found == self.expected


def write_config(folder: Path, port: int, provider_port: int, **sections: object) -> Path:
    """Write the configuration file and return its path.

    Authentication, ledger, routing, request log and decision log are all on, unless `sections` say otherwise.
    """
    config: dict[str, object] = {
        "server": {"host": "127.0.0.1", "port": port},
        "store": {"path": str(folder / "loupe.sqlite")},
        "log": {"path": str(folder / "requests.jsonl")},
        "providers": {"canned": {"base_url": f"http://127.0.0.1:{provider_port}/v1"}},
        "candidates": [
            {
                "name": name,
                "provider": "canned",
                "input_usd_per_mtok": price_in,
                "output_usd_per_mtok": price_out,
                "image_tokens": IMAGE_TOKENS[name],
            }
            for name, (price_in, price_out) in PRICES.items()
        ],
        "tenants": [
            {
                "name": "bench",
                "keys": [{"sha256": hashlib.sha256(KEY.encode()).hexdigest()}],
                "budget": {"usd": BUDGET_USD},
            }
        ],
        **sections,
    }
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def spent_nanodollars(port: int) -> int:
    """Return the tenant's spend, as `GET /v1/usage` reports it."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/usage", headers={"authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        spent_usd: float = json.load(reply)["windows"][0]["spent_usd"]
    return round(spent_usd * 1e9)


def audit(folders: Sequence[Path], requests: int, provider_counts: Mapping[str, int], spent: int) -> list[Check]:
    """Return the checks of money, log lines and decisions of all gateways together, after the gateways have ended.

    `folders` has a folder per gateway. `provider_counts` is the provider's own count of received requests, by
    candidate.
    """
    routed = {name: provider_counts.get(name, 0) for name in PRICES}
    owed = sum(count * _cost(*PRICES[name]) for name, count in routed.items())
    logs = [folder / "requests.jsonl" for folder in folders]
    lines = [json.loads(line) for log in logs for line in log.read_text(encoding="utf-8").splitlines()]
    window_spent, window_held = _sums(folders, "loupe.sqlite", "SELECT sum(spent), sum(held) FROM windows")
    (unsettled,) = _sums(folders, "loupe.sqlite", "SELECT count(*) FROM holds WHERE state != 'settled'")
    decided = "SELECT count(*), sum(cost_nanousd) FROM decisions WHERE outcome = 'ok'"
    rows, charged = _sums(folders, "loupe-decisions.sqlite", decided)
    return [
        Check("requests that reached the provider", sum(routed.values()), requests),
        Check("GET /v1/usage, nanodollars", spent, owed),
        Check("spent in the ledger's window, nanodollars", window_spent, owed),
        Check("held in the ledger's window, nanodollars", window_held, 0),
        Check("charged by the decision log, nanodollars", charged, owed),
        Check("holds that were not settled", unsettled, 0),
        Check("decisions in the log", rows, requests),
        Check("log lines", len(lines), requests),
        Check("log lines that say `routed` and `ok`", sum(map(_is_routed, lines)), requests),
    ]


def _sums(folders: Sequence[Path], file: str, query: str) -> list[int]:
    """Return the columns of a query with one row, each summed over the folders."""
    found = []
    for folder in folders:
        with closing(sqlite3.connect(folder / file)) as db:
            found.append(db.execute(query).fetchone())
    return [sum(column) for column in zip(*found, strict=True)]


def _cost(usd_in: float, usd_out: float) -> int:
    """Return the nanodollars of the canned usage at these USD per million tokens, rounded up."""
    per_million = round(usd_in * 1e9) * PROMPT_TOKENS + round(usd_out * 1e9) * COMPLETION_TOKENS
    return -(-per_million // 1_000_000)


def _is_routed(line: Mapping[str, object]) -> bool:
    return line["reason"] == "routed" and line["outcome"] == "ok"
