"""All tenants and keys as one value, and the changes that may be made to it: pure, so that any store can keep it.

A change takes a registry and returns another, or raises a RequestError without any effect. Revoked keys stay in the
registry, so that lists can show them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from gateway.billing.window import Budget, window_at
from gateway.errors import InvalidRequest, NotFoundError
from gateway.tenants.policy import PACED, ExplorationSettings, TenantPacingSettings
from gateway.tenants.tenant import key_owner

Origin = Literal["made", "yaml"]


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """The terms of a tenant. `candidates`: None allows all candidates. Times are seconds since the epoch.

    `pacing` applies to the windows that can be paced; None: budgets are only enforced. `exploration`: None: never
    explores.
    """

    name: str
    budgets: tuple[Budget, ...] = ()
    candidates: tuple[str, ...] | None = None
    quality_weight: float = 0.8
    on_infeasible: Literal["refuse", "cheapest"] = "refuse"
    created_at: float = 0.0
    pacing: TenantPacingSettings | None = PACED
    exploration: ExplorationSettings | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without the key: `hash` is the hex of its keyed hash.

    Attributes:
        name: the key's name, also in its windows. A key and the key that it was rotated from have the same name.
        candidates: a subset of its tenant's; None for the same as its tenant's.
        origin: the source of the key: the configuration (`yaml`), or a command (`made`).
        last_used_at: precise to a minute; None if the key was never used.
    """

    id: str
    tenant: str
    name: str
    hash: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    budgets: tuple[Budget, ...] = ()
    candidates: tuple[str, ...] | None = None
    origin: Origin = "made"

    @property
    def is_provisioned(self) -> bool:
        """True if a configuration file names the key: a key that the file no longer names is revoked."""
        return self.origin == "yaml" and self.revoked_at is None

    def stands(self, now: float) -> bool:
        """Return whether requests may still be made with the key."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class TenantRegistry:
    """Tenants by name, keys by id.

    `provisioned` has the tenants (`acme`) and keys (`acme/key/laptop`) that a configuration file names, each with the
    path of that file: they can only be changed in that file. A store of an older version has a digest instead of the
    path.
    """

    tenants: Mapping[str, TenantSettings] = field(default_factory=dict)
    keys: Mapping[str, ApiKey] = field(default_factory=dict)
    provisioned: Mapping[str, str] = field(default_factory=dict)

    def tenant(self, name: str) -> TenantSettings:
        """Return a tenant. Raises NotFoundError."""
        found = self.tenants.get(name)
        if found is None:
            raise NotFoundError(f"unknown tenant {name!r:.80}", param="tenant", code="tenant_not_found")
        return found

    def key(self, key_id: str) -> ApiKey:
        """Return a key. Raises NotFoundError."""
        found = self.keys.get(key_id)
        if found is None:
            raise NotFoundError(f"unknown key {key_id!r:.80}", param="id", code="key_not_found")
        return found

    def own_tenant(self, name: str) -> TenantSettings:
        """Return a tenant that commands may change. Raises NotFoundError, or InvalidRequest (409) if a file has it."""
        found = self.tenant(name)
        if name in self.provisioned:
            raise self._provisioned(f"the tenant {name!r}", name, "tenant")
        return found

    def own_key(self, key_id: str) -> ApiKey:
        """Return a key that commands may change. Raises NotFoundError, or InvalidRequest (409) for a key that a file
        names.
        """
        found = self.key(key_id)
        if found.is_provisioned:
            raise self._provisioned(f"the key {found.tenant}/{found.name} ({key_id})", mark_of(found), "id")
        return found

    def _provisioned(self, what: str, mark: str, param: str) -> InvalidRequest:
        file = self.provisioned.get(mark, "")
        file = "the configuration file" if re.fullmatch("|[0-9a-f]{32}", file) else file
        message = f"{what} is provisioned by {file}: change it there, and reload"
        return InvalidRequest(message, param=param, status=409, code="provisioned")

    def keys_of(self, tenant: str) -> Iterator[ApiKey]:
        """Return the tenant's keys, in the order of their creation."""
        return (key for key in self.keys.values() if key.tenant == tenant)


def mark_of(key: ApiKey) -> str:
    """Return the name of a key in `TenantRegistry.provisioned`."""
    return f"{key.tenant}/key/{key.name}"


def add_tenant(registry: TenantRegistry, terms: TenantSettings) -> TenantRegistry:
    """Add a tenant. Raises InvalidRequest (409) if the name is taken."""
    if terms.name in registry.tenants:
        raise taken(f"there is a tenant {terms.name!r} already", "name")
    return put_tenant(registry, terms)


def put_tenant(registry: TenantRegistry, terms: TenantSettings) -> TenantRegistry:
    """Add a tenant or replace its terms. What it spent still counts."""
    return replace(registry, tenants={**registry.tenants, terms.name: terms})


def remove_tenant(registry: TenantRegistry, name: str, now: float) -> TenantRegistry:
    """Remove a tenant and revoke its keys. Raises NotFoundError."""
    registry.tenant(name)
    kept = {other: terms for other, terms in registry.tenants.items() if other != name}
    keys = {k.id: _revoked(k, now) if k.tenant == name else k for k in registry.keys.values()}
    return replace(registry, tenants=kept, keys=keys)


def add_key(registry: TenantRegistry, key: ApiKey, now: float) -> TenantRegistry:
    """Add a key.

    Raises NotFoundError for its tenant, and InvalidRequest for candidates that the tenant may not use. Raises
    InvalidRequest (409) if the tenant has a valid key of that name, the file names one, or the key itself is already
    known.
    """
    if mark_of(key) in registry.provisioned or any(
        other.name == key.name and other.stands(now) for other in registry.keys_of(key.tenant)
    ):
        raise taken(f"tenant {key.tenant} has a key {key.name!r} already", "name")
    return put_key(registry, key)


def put_key(registry: TenantRegistry, key: ApiKey) -> TenantRegistry:
    """Add a key, or change the key with its id. Raises as `add_key` does, except for names."""
    terms = registry.tenant(key.tenant)
    for name in key.candidates or ():
        if terms.candidates is not None and name not in terms.candidates:
            what = f"a key may use {name!r}, which its tenant {terms.name} may not"
            raise InvalidRequest(what, param="candidates", code="candidate_not_allowed")
    for other in registry.keys.values():
        if other.hash == key.hash and other.id != key.id:
            raise taken(
                f"two keys have the same secret: {key.tenant}/{key.name} and {other.tenant}/{other.name}", "key"
            )
    refuse_shared_windows([key], registry.keys_of(key.tenant))
    return replace(registry, keys={**registry.keys, key.id: key})


def refuse_shared_windows(keys: Iterable[ApiKey], others: Iterable[ApiKey]) -> None:
    """Refuse keys whose budgets would be counted in the windows of a key of another name.

    The key `a` counts tokens in `a/tokens/total`, and a key `a/tokens` counts money there. Windows that exist keep
    their names, so the second of the two needs another name. Raises InvalidRequest (409).
    """
    keys = [key for key in keys if key.budgets]
    others = [other for other in others if other.budgets]
    if not any("/" in key.name for key in (*keys, *others)):
        return
    names = {window: other.name for other in others for window in _windows(other)}
    for key in keys:
        for window in _windows(key):
            other_name = names.setdefault(window, key.name)
            if other_name != key.name:
                what = (
                    f"tenant {key.tenant}: the keys {other_name!r} and {key.name!r} would share the window {window!r}"
                )
                raise taken(f"{what}: give one of them another name", "name")


def _windows(key: ApiKey) -> list[str]:
    return [window_at(key_owner(key.tenant, key.name), budget, 0.0).key for budget in key.budgets]


def revoke_key(registry: TenantRegistry, key_id: str, now: float) -> TenantRegistry:
    """Revoke a key. Safe to repeat. Raises NotFoundError."""
    key = registry.key(key_id)
    return replace(registry, keys={**registry.keys, key_id: _revoked(key, now)})


def rotate_key(registry: TenantRegistry, key_id: str, successor: ApiKey, old_ends_at: float) -> TenantRegistry:
    """Replace a key by `successor`. The old key ends at `old_ends_at`, or at its own expiry if that is earlier.

    Raises NotFoundError, or InvalidRequest (409) for a key that has ended or has a successor.
    """
    old, now = registry.key(key_id), successor.created_at
    if not old.stands(now):
        raise InvalidRequest(f"the key {key_id} has ended: make another", param="id", status=409, code="key_ended")
    for other in registry.keys_of(old.tenant):
        if other.name == old.name and other.created_at > old.created_at and other.stands(now):
            what = f"the key {key_id} was rotated already: rotate {other.id}"
            raise InvalidRequest(what, param="id", status=409, code="key_rotated")
    ends = old_ends_at if old.expires_at is None else min(old_ends_at, old.expires_at)
    kept = replace(registry, keys={**registry.keys, key_id: replace(old, expires_at=ends)})
    return put_key(kept, successor)


def _revoked(key: ApiKey, now: float) -> ApiKey:
    return key if key.revoked_at is not None else replace(key, revoked_at=now)


def taken(message: str, param: str) -> InvalidRequest:
    """Return the refusal of a name or a key that already exists."""
    return InvalidRequest(message, param=param, status=409, code="already_exists")
