"""The embedded kind of store: one SQLite file, shared by the processes of one machine."""

from __future__ import annotations

from gateway.billing.store import BudgetStore
from gateway.stores.base import StoreAddress, StoreKind, StoreSurroundings
from gateway.stores.sqlite.budgets import SqliteStore
from gateway.stores.sqlite.tenants import SqliteTenants


async def open_budgets(address: StoreAddress, around: StoreSurroundings) -> BudgetStore:
    """Open the ledger of a file until the stack ends. Raises StoreError."""
    store = SqliteStore(address.path, around.clock)
    await store.open()
    around.stack.push_async_callback(store.close)
    return store


def open_tenants(address: StoreAddress) -> SqliteTenants:
    """Open the tenants of a file. Raises StoreError."""
    store = SqliteTenants(address.path)
    store.open()
    return store


SQLITE = StoreKind(open_budgets, open_tenants)
