"""The configuration of the watched gateway: three tenants whose budgets differ in kind, and the demo's candidates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.config.secrets import hash_key
from gateway.providers.replay.candidates import CANDIDATES

KEYS: Mapping[str, str] = {name: f"sk-watched-{name}-0123456789abcdef" for name in ("alpha", "bravo", "charlie")}
_BUDGETS: Mapping[str, list[dict[str, Any]]] = {
    "alpha": [{"usd": 25.0, "period": "hour", "rolling": True}, {"requests": 6_000, "period": "minute"}],
    "bravo": [{"usd": 8.0, "period": "hour", "rolling": True}, {"usd": 0.001, "period": "day", "soft": True}],
    "charlie": [{"usd": 0.02, "period": "day", "rolling": True}, {"tokens": 10_000_000, "period": "hour"}],
}
"""At five requests per second each, alpha can pay $1.3 per thousand and bravo $0.4, so that pacing has to act. The
budget of charlie runs out, and bravo's soft limit is exceeded at once.
"""
_WEIGHTS = {"alpha": 0.9, "bravo": 0.5, "charlie": 0.7}

_EXPLORATION = {"rate": 0.2, "gamma": 0.0, "slack": 1.0, "budget_share": 0.5}
"""One request in five is drawn from all candidates, because nine minutes of load do not otherwise show what each
candidate would have scored.
"""


def settings_of(folder: Path, pool_url: str) -> dict[str, Any]:
    """Return the configuration, as a YAML file would hold it; all state is in `folder`."""
    return {
        "store": {"path": str(folder / "loupe.sqlite")},
        "log": {"path": str(folder / "requests.jsonl")},
        "encoder": {"timeout_ms": 10_000},
        "router": {"timeout_ms": 10_000},
        "providers": {"pool": {"base_url": pool_url}},
        "candidates": [
            {
                "name": candidate.name,
                "provider": "pool",
                "input_usd_per_mtok": float(candidate.input_usd),
                "output_usd_per_mtok": float(candidate.output_usd),
                "image_tokens": candidate.image_tokens,
                "context_tokens": candidate.context_tokens,
                "max_output_tokens": 2_048,
            }
            for candidate in CANDIDATES
        ],
        "tenants": [
            {
                "name": name,
                "keys": [{"sha256": hash_key(key)}],
                "budgets": _BUDGETS[name],
                "quality_weight": _WEIGHTS[name],
                "exploration": _EXPLORATION,
            }
            for name, key in KEYS.items()
        ],
    }
