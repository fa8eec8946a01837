"""The operations on tenants and keys, for the command line and for /admin. Blocking, because they use the store."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from gateway.errors import InvalidRequest
from gateway.tenants.key_hash import KeyHash
from gateway.tenants.provisioning import ConfiguredTenants, SyncResult, read_in, read_in_new_tenants
from gateway.tenants.registry import (
    ApiKey,
    TenantRegistry,
    TenantSettings,
    add_key,
    add_tenant,
    put_key,
    put_tenant,
    remove_tenant,
    revoke_key,
    rotate_key,
)
from gateway.tenants.schema import KeyConfig, TenantConfig, invalid, tenant_as_written
from gateway.tenants.store import TenantStore

KEY_PREFIX = "sk-loupe-"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. `secret` is the key itself: it is shown once and stored nowhere."""

    record: ApiKey
    secret: str


class TenantManagement:
    """The management of tenants and keys. Its methods raise RequestError for what cannot be done, and StoreError.

    `candidates` are the names that an allow-list may contain.
    """

    def __init__(
        self, store: TenantStore, key_hash: KeyHash, clock: Callable[[], float], candidates: Collection[str]
    ) -> None:
        self._store = store
        self._key_hash = key_hash
        self._clock = clock
        self.candidates = candidates

    def registry(self) -> TenantRegistry:
        return self._store.load()[0]

    def create_tenant(self, body: TenantConfig) -> TenantSettings:
        terms = body.terms(self._clock())
        self._check(terms.candidates)
        return self._store.change(lambda registry: (add_tenant(registry, terms), terms))

    def update_tenant(self, name: str, changes: Mapping[str, Any]) -> TenantSettings:
        """Change the members in `changes`, and keep the rest. `name` is also kept, because it names windows."""

        def change(registry: TenantRegistry) -> tuple[TenantRegistry, TenantSettings]:
            old = registry.own_tenant(name)
            written = {key: value for key, value in tenant_as_written(old).items() if key != "created_at"}
            if "budget" in changes:
                written["budgets"] = []
            try:
                body = TenantConfig.model_validate({**written, **changes, "name": name})
            except ValidationError as error:
                raise invalid(error) from None
            terms = body.terms(old.created_at)
            self._check(terms.candidates)
            return put_tenant(registry, terms), terms

        return self._store.change(change)

    def delete_tenant(self, name: str) -> None:
        """Delete a tenant and revoke its keys. What it spent is kept under its name."""
        now = self._clock()
        self._store.change(lambda registry: (remove_tenant(registry, registry.own_tenant(name).name, now), None))

    def create_key(self, tenant: str, terms: KeyConfig) -> NewKey:
        now, made = self._clock(), self._made()
        self._check(terms.candidates)
        record = ApiKey(
            id=made.id,
            tenant=tenant,
            name=terms.name or made.id,
            hash=made.hash,
            created_at=now,
            expires_at=terms.expires_at(),
            budgets=tuple(budget.budget() for budget in terms.budgets),
            candidates=terms.candidates,
        )
        self._store.change(lambda registry: (add_key(registry, record, now), None))
        return NewKey(record, made.secret)

    def update_key(self, key_id: str, terms: KeyConfig) -> ApiKey:
        """Change the members that `terms` sets: expiry, budgets, candidates. The name is kept, because it names
        windows.
        """
        self._check(terms.candidates)

        def change(registry: TenantRegistry) -> tuple[TenantRegistry, ApiKey]:
            old = registry.own_key(key_id)
            if old.revoked_at is not None:
                raise InvalidRequest(f"the key {key_id} was revoked", param="id", status=409, code="key_ended")
            if terms.name not in (None, old.name):
                raise InvalidRequest(f"the key {key_id} is called {old.name!r} for good", param="name")
            key = replace(
                old,
                expires_at=terms.expires_at() if "expires" in terms.model_fields_set else old.expires_at,
                budgets=tuple(b.budget() for b in terms.budgets)
                if "budgets" in terms.model_fields_set
                else old.budgets,
                candidates=terms.candidates if "candidates" in terms.model_fields_set else old.candidates,
            )
            return put_key(registry, key), key

        return self._store.change(change)

    def revoke_key(self, key_id: str) -> ApiKey:
        now = self._clock()

        def change(registry: TenantRegistry) -> tuple[TenantRegistry, ApiKey]:
            after = revoke_key(registry, registry.own_key(key_id).id, now)
            return after, after.key(key_id)

        return self._store.change(change)

    def revoke_all(self) -> list[ApiKey]:
        """Revoke every key, including the file's, and forget the secret that they were hashed with.

        Returns the keys that this call revoked. Keys of the file come back under another secret.
        """
        now = self._clock()

        def change(registry: TenantRegistry) -> tuple[TenantRegistry, list[ApiKey]]:
            ids = [key.id for key in registry.keys.values() if key.revoked_at is None]
            for each in ids:
                registry = revoke_key(registry, each, now)
            return registry, [registry.key(each) for each in ids]

        revoked = self._store.change(change)
        self._store.forget_secret()
        return revoked

    def rotate_key(self, key_id: str, grace_s: float) -> NewKey:
        """Make a new key with the same name, budgets, candidates and expiry; the old key ends after
        `grace_s` seconds.
        """
        now, made = self._clock(), self._made()

        def change(registry: TenantRegistry) -> tuple[TenantRegistry, ApiKey]:
            old = registry.own_key(key_id)
            record = replace(
                old, id=made.id, hash=made.hash, created_at=now, revoked_at=None, last_used_at=None, origin="made"
            )
            return rotate_key(registry, key_id, record, now + grace_s), record

        return NewKey(self._store.change(change), made.secret)

    def read_in(self, declared: ConfiguredTenants) -> SyncResult:
        """Read the configuration's tenants and keys into the store; see `gateway.tenants.provisioning`."""
        now = self._clock()
        return self._store.change(lambda registry: read_in(registry, declared, now))

    def read_in_new_tenants(self, declared: ConfiguredTenants) -> None:
        """Read the configuration's tenants that the store does not have into the store."""
        now = self._clock()
        self._store.change(lambda registry: (read_in_new_tenants(registry, declared, now), None))

    def _made(self) -> _NewSecret:
        secret = KEY_PREFIX + secrets.token_urlsafe(32)
        return _NewSecret(f"key_{secrets.token_hex(8)}", self._key_hash.of(secret.encode()).hex(), secret)

    def _check(self, names: Collection[str] | None) -> None:
        for name in names or ():
            if name not in self.candidates:
                raise InvalidRequest(f"unknown candidate {name!r:.80}", param="candidates", code="candidate_not_found")


@dataclass(frozen=True, slots=True)
class _NewSecret:
    id: str
    hash: str
    secret: str
