"""Who asks, what they may spend and what they may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.core.budget import Budget


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant. `candidates` is its allow-list, in the order that serves when routing declines."""

    name: str
    candidates: tuple[str, ...]
    quality_weight: float
    on_infeasible: Literal["refuse", "cheapest"] = "refuse"
    budget: Budget | None = None


class Tenants:
    """Tenants by the hex sha256 of their keys."""

    def __init__(self, by_key_hash: Mapping[str, Tenant]) -> None:
        self._by_key_hash = dict(by_key_hash)

    def find(self, key_hash: str) -> Tenant | None:
        return self._by_key_hash.get(key_hash)

    def names(self) -> list[str]:
        return sorted({tenant.name for tenant in self._by_key_hash.values()})
