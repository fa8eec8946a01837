"""All that has to do with tenants in one process, opened: the store of the configuration, and what works on it.

Part of the composition root.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.config.secrets import key_secret, secret_from
from gateway.config.settings import Settings
from gateway.stores.redis.tenants import RedisTenants
from gateway.stores.sqlite.tenants import SqliteTenants
from gateway.tenants.key_hash import KeyHash
from gateway.tenants.management import Tenancy
from gateway.tenants.store import TenantStore
from gateway.tenants.tenant import Tenants
from gateway.tenants.watch import LiveTenants

_log = logging.getLogger("loupe")


@dataclass(frozen=True, slots=True)
class Tenure:
    """`tenants` is what requests ask; `live` fills it."""

    store: TenantStore
    key_hash: KeyHash
    tenancy: Tenancy
    tenants: Tenants
    live: LiveTenants


def open_tenant_store(settings: Settings) -> SqliteTenants | RedisTenants:
    """Where the configuration's tenants are kept: beside its budgets. Raises ConfigError or StoreError."""
    section = settings.store
    if section.kind == "redis":
        store: SqliteTenants | RedisTenants = RedisTenants(secret_from(section.redis_url_env))
    else:
        store = SqliteTenants(section.path)
    store.open()
    return store


def begin_tenure(store: TenantStore, settings: Settings, report: Callable[[str, BaseException], None]) -> Tenure:
    """Raises ConfigError or StoreError."""
    variable = settings.server.key_secret_env
    secret, is_kept = store.secret(key_secret(variable))
    if is_kept:
        _log.warning("%s is not set: keys are hashed with a secret that is kept in the store, beside them", variable)
    key_hash = KeyHash(secret)
    tenancy = Tenancy(store, key_hash, time.time, [candidate.name for candidate in settings.candidates])
    tenants = Tenants(key_hash, {})
    return Tenure(store, key_hash, tenancy, tenants, LiveTenants(store, tenants, report=report))
