"""Who asks, what they may spend and what they may use."""

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
    """A tenant, as one of its keys shows it.

    Attributes:
        candidates: its allow-list, in the order that serves when routing declines.
        budgets: of the tenant, whichever key is used.
        key: the name of the key; it stands in the keys of the key's own windows.
        key_budgets: of this key alone.
        expires_at: when the key ends, in seconds since the epoch; None: never.
        pacing: how spend is paced in the windows that can be; None: it is not.
        exploration: how it explores; None: it does not.
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
        """Everything that a request at `now` counts towards."""
        return _windows(self.name, self.budgets, self.key, self.key_budgets, int(now // STEADY_S))


STEADY_S = 5
"""Every window begins at a multiple of so many seconds, so for so long its tenant's windows are the same."""


@lru_cache(4096)
def _windows(
    name: str, budgets: tuple[Budget, ...], key: str, key_budgets: tuple[Budget, ...], moment: int
) -> tuple[Window, ...]:
    now = float(moment * STEADY_S)
    found = [window_at(name, budget, now) for budget in budgets]
    found += [window_at(key_owner(name, key), budget, now) for budget in key_budgets]
    return tuple(found)


def key_owner(tenant: str, key: str) -> str:
    """Whose the windows of a key are, as `window_at` takes it."""
    return f"{tenant}/key/{key}"


class Tenants:
    """The tenants by the keyed hash of their keys: a table in memory that is replaced whole when it changes."""

    def __init__(self, key_hash: KeyHash, by_hash: Mapping[bytes, Tenant]) -> None:
        self._key_hash = key_hash
        self._by_hash = by_hash
        self._keyed: dict[bytes, bytes] = {}
        """Keyed hashes by plain ones, of keys that are known: no key stands here, and nobody can fill it with more."""
        self._used: set[bytes] = set()

    def find(self, key: bytes) -> Tenant | None:
        """The tenant of a key as it was sent; its use is noted."""
        plain = sha256(key).digest()
        hashed = self._keyed.get(plain) or self._key_hash.over(plain)
        tenant = self._by_hash.get(hashed)
        if tenant is not None:
            self._keyed[plain] = hashed
            self._used.add(hashed)
        return tenant

    def replace(self, by_hash: Mapping[bytes, Tenant]) -> None:
        """From here on these are known, and no others."""
        self._by_hash = by_hash
        self._keyed = {}

    def take_used(self) -> set[bytes]:
        """Hashes of the keys that were used since this was asked last."""
        used, self._used = self._used, set()
        return used
