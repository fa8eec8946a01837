"""A tenant as a request sees it: who asks, what they may spend and which candidates they may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Literal

from gateway.billing.window import Budget, Window, window_at
from gateway.tenants.key_hash import KeyHash
from gateway.tenants.policy import PACED, ExplorationSettings, TenantPacingSettings


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant, as seen through one of its keys.

    Attributes:
        candidates: its allow-list, in the order that serves when routing declines.
        budgets: budgets of the tenant, whichever key is used.
        key: the name of the key, which is part of the names of the key's own windows.
        key_budgets: budgets of this key alone.
        expires_at: when the key ends, in seconds since the epoch; None: never.
        pacing: how spend is paced in the windows that can be paced; None: it is not paced.
        exploration: how the tenant explores; None: it does not explore.
    """

    name: str
    candidates: tuple[str, ...]
    quality_weight: float
    on_infeasible: Literal["refuse", "cheapest"] = "refuse"
    budgets: tuple[Budget, ...] = ()
    key: str = ""
    key_budgets: tuple[Budget, ...] = ()
    expires_at: float | None = None
    pacing: TenantPacingSettings | None = PACED
    exploration: ExplorationSettings | None = None

    def windows(self, now: float) -> tuple[Window, ...]:
        """Return all windows that a request at `now` counts towards."""
        return _windows(self.name, self.budgets, self.key, self.key_budgets, int(now // STEADY_S))


STEADY_S = 5
"""Every window begins at a multiple of this many seconds, so a tenant's windows stay the same for as long."""


@lru_cache(4096)
def _windows(
    name: str, budgets: tuple[Budget, ...], key: str, key_budgets: tuple[Budget, ...], moment: int
) -> tuple[Window, ...]:
    now = float(moment * STEADY_S)
    found = [window_at(name, budget, now) for budget in budgets]
    found += [window_at(key_owner(name, key), budget, now) for budget in key_budgets]
    return tuple(found)


def key_owner(tenant: str, key: str) -> str:
    """Return the owner of a key's windows, as `window_at` takes it."""
    return f"{tenant}/key/{key}"


class Tenants:
    """The tenants by the keyed hash of their keys: a table in memory that is replaced as a whole when it changes."""

    def __init__(self, key_hash: KeyHash, by_hash: Mapping[bytes, Tenant]) -> None:
        self._key_hash = key_hash
        self._by_hash = by_hash
        self._keyed: dict[bytes, bytes] = {}
        """Keyed hashes by plain hashes, of known keys only: it contains no key, and unknown keys cannot fill it."""
        self._used: set[bytes] = set()

    def find(self, key: bytes) -> Tenant | None:
        """Return the tenant of a key as it was sent, or None; note the key's use."""
        plain = sha256(key).digest()
        hashed = self._keyed.get(plain) or self._key_hash.over(plain)
        tenant = self._by_hash.get(hashed)
        if tenant is not None:
            self._keyed[plain] = hashed
            self._used.add(hashed)
        return tenant

    def replace(self, by_hash: Mapping[bytes, Tenant]) -> None:
        """From now on, know these tenants and no others."""
        self._by_hash = by_hash
        self._keyed = {}

    def take_used(self) -> set[bytes]:
        """Return the hashes of the keys that were used since the last call."""
        used, self._used = self._used, set()
        return used
