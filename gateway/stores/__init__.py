"""Stores, which keep state. Rule: a store keeps what it is given; it decides only whether a reservation fits.

To add a kind of store, write one file and add one line to `KINDS`.
"""

from __future__ import annotations

from gateway.stores.base import StoreKind
from gateway.stores.redis.kind import REDIS
from gateway.stores.sqlite.kind import SQLITE

KINDS: dict[str, StoreKind] = {"sqlite": SQLITE, "redis": REDIS}
"""A mapping from `store.kind` of the configuration to how stores of that kind are opened."""
