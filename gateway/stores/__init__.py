"""Where state is kept. Rule: a store keeps what it is told and decides nothing but whether a reservation fits.

A new kind of store is one file and one line in `KINDS`.
"""

from __future__ import annotations

from gateway.stores.base import StoreKind
from gateway.stores.redis.kind import REDIS
from gateway.stores.sqlite.kind import SQLITE

KINDS: dict[str, StoreKind] = {"sqlite": SQLITE, "redis": REDIS}
"""`store.kind` of the configuration -> how stores of that kind are opened."""
