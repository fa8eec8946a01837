"""Tenants and keys as text, and the secret that keys are hashed with: the part that all tenant stores share."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from gateway.billing.window import Budget
from gateway.errors import ConfigError
from gateway.tenants.policy import ExplorationSettings, TenantPacingSettings
from gateway.tenants.registry import ApiKey, TenantSettings

ROWS_REMEMBERED = 50_000
"""Parsed rows that are cached, because few of many keys change."""
CHECKED_TEXT = b"loupe: the secret that keys are hashed with"


def write_tenant(terms: TenantSettings) -> str:
    return json.dumps(asdict(terms))


@lru_cache(ROWS_REMEMBERED)
def read_tenant(text: str) -> TenantSettings:
    return TenantSettings(**_values(json.loads(text)))


def write_key(key: ApiKey) -> str:
    """Return the key as text, without the time of its last use."""
    return json.dumps({name: value for name, value in asdict(key).items() if name != "last_used_at"})


@lru_cache(ROWS_REMEMBERED)
def read_key(text: str, last_used_at: float | None) -> ApiKey:
    return ApiKey(last_used_at=last_used_at, **_values(json.loads(text)))


@dataclass(frozen=True, slots=True)
class KeptSecret:
    """The part of the secret that a store keeps: the secret in hex, if it was not given; and a check value to recognise
    it.
    """

    secret: str = ""
    check: str = ""


def settle_secret(given: bytes | None, kept: KeptSecret, place: str) -> tuple[bytes, KeptSecret]:
    """Return the secret to use, and what to keep of it. Raises ConfigError if it differs from the one used before.

    Space around a given secret does not count, but a store whose keys were hashed with it, as older versions did, goes
    on so.
    """
    secret = (given or b"").strip() or bytes.fromhex(kept.secret) or secrets.token_bytes(32)
    if given and kept.check and hmac.compare_digest(kept.check, _check_of(given)):
        secret = given
    check = _check_of(secret)
    if kept.check and not hmac.compare_digest(kept.check, check):
        was = "one that is kept there" if kept.secret else "one that the environment gave"
        raise ConfigError(
            f"keys in {place} are hashed with another secret ({was}): set its variable (server.key_secret_env) as it "
            "was then; or, to go over to this one, revoke all keys (`loupe keys revoke --all`), restart, make new ones"
        )
    return secret, KeptSecret("" if given else secret.hex(), check)


def _check_of(secret: bytes) -> str:
    return hmac.digest(secret, CHECKED_TEXT, "sha256").hex()


def _values(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Convert lists back to tuples. Members that an older version did not write get their defaults."""
    candidates = raw["candidates"]
    kinds: Mapping[str, type[Any]] = {"pacing": TenantPacingSettings, "exploration": ExplorationSettings}
    parts = {name: kind(**raw[name]) for name, kind in kinds.items() if raw.get(name) is not None}
    return {
        **raw,
        **parts,
        "budgets": tuple(Budget(**budget) for budget in raw["budgets"]),
        "candidates": None if candidates is None else tuple(candidates),
    }
