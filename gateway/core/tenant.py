"""Who asks, what they may spend and what they may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.core.budget import Budget, Window, window_at


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant, as one of its keys shows it.

    Attributes:
        candidates: its allow-list, in the order that serves when routing declines.
        budgets: of the tenant, whichever key is used.
        key: the name of the key; it stands in the keys of the key's own windows.
        key_budgets: of this key alone.
        expires_at: when the key ends, in seconds since the epoch; None: never.
    """

    name: str
    candidates: tuple[str, ...]
    quality_weight: float
    on_infeasible: Literal["refuse", "cheapest"] = "refuse"
    budgets: tuple[Budget, ...] = ()
    key: str = ""
    key_budgets: tuple[Budget, ...] = ()
    expires_at: float | None = None

    def windows(self, now: float) -> tuple[Window, ...]:
        """Everything that a request at `now` counts towards."""
        found = [window_at(self.name, budget, now) for budget in self.budgets]
        found += [window_at(f"{self.name}/key/{self.key}", budget, now) for budget in self.key_budgets]
        return tuple(found)


class Tenants:
    """Tenants by the hex sha256 of their keys."""

    def __init__(self, by_key_hash: Mapping[str, Tenant]) -> None:
        self._by_key_hash = dict(by_key_hash)

    def find(self, key_hash: str) -> Tenant | None:
        return self._by_key_hash.get(key_hash)

    def names(self) -> list[str]:
        return sorted({tenant.name for tenant in self._by_key_hash.values()})
