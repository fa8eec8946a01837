"""The shared kind of store: one Redis for several gateways, and an allowance for serving while Redis is away."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.billing.money import NANODOLLARS
from gateway.billing.store import BudgetStore
from gateway.errors import ConfigError
from gateway.stores.base import StoreAddress, StoreKind, StoreSurroundings
from gateway.stores.local_fallback import LocalAllowance, LocalFallbackStore
from gateway.stores.redis.budgets import RedisSettings, RedisStore
from gateway.stores.redis.tenants import RedisTenants


async def open_budgets(address: StoreAddress, around: StoreSurroundings) -> BudgetStore:
    """Open the ledger in Redis until the stack ends. Raises ConfigError or StoreError."""
    store = RedisStore(RedisSettings(address.url(), limit_s=address.limit_s), around.clock, around.warn)
    with _address_told(address):
        await store.open()
    around.stack.push_async_callback(store.close)
    if address.local_allowance is None:
        return store
    allowance = LocalAllowance(address.local_allowance, uuid.uuid4().hex)
    fallback = LocalFallbackStore(store, around.clock, allowance, around.warn)
    await fallback.open()
    around.stack.push_async_callback(fallback.close)
    around.watch(
        "loupe_local_leases_usd",
        "What this process sets aside of all budgets, to go on without the ledger",
        lambda: fallback.set_aside / NANODOLLARS,
    )
    return fallback


def open_tenants(address: StoreAddress) -> RedisTenants:
    """Open the tenants in Redis. Raises ConfigError or StoreError."""
    store = RedisTenants(address.url())
    with _address_told(address):
        store.open()
    return store


@contextmanager
def _address_told(address: StoreAddress) -> Iterator[None]:
    """Raise ConfigError, without the address, for what redis-py makes nothing of: a scheme, port or option."""
    try:
        yield
    except (TypeError, ValueError):
        what = f"the environment variable {address.url_variable} does not hold an address of Redis"
        raise ConfigError(f"{what}, such as redis://:PASSWORD@HOST:6379/0, rediss://... or unix://...") from None


REDIS = StoreKind(open_budgets, open_tenants)
