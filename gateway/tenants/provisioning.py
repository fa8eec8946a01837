"""Provisioning: how the configuration's tenants and keys get into a registry. The file owns what the file names.

Whatever a file names follows that file each time the file is read in. What an earlier reading named and this one does
not is removed: a key that is deleted from the file must stop working. What commands made is left unchanged, and a name
that both the file and a command claim is refused. The file that was read in last is the one that counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.tenants.registry import (
    ApiKey,
    TenantRegistry,
    TenantSettings,
    mark_of,
    refuse_shared_windows,
    remove_tenant,
    taken,
)


@dataclass(frozen=True, slots=True)
class ConfiguredTenants:
    """The tenants and keys that a configuration names, and that file's name for messages."""

    tenants: Sequence[TenantSettings]
    keys: Sequence[ApiKey]
    file: str


@dataclass(frozen=True, slots=True)
class SyncResult:
    """The changes of a reading, by names of tenants (`acme`) and of keys (`acme/key/laptop`).

    `left` are keys that the file names but that a command ended, in an older version that allowed this: they stay
    ended.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def read_in(registry: TenantRegistry, declared: ConfiguredTenants, now: float) -> tuple[TenantRegistry, SyncResult]:
    """Add or update what the file names, and remove what it no longer names.

    Raises InvalidRequest (409) if a command made a tenant or a key that the file names, or if keys share windows.
    """
    _refuse_claimed_twice(registry, declared, now)
    named = {*(terms.name for terms in declared.tenants), *map(mark_of, declared.keys)}
    removed = registry.provisioned.keys() - named
    after = registry
    for name in removed & registry.tenants.keys():
        after = remove_tenant(after, name, now)
    left = _ended_by_commands(registry, declared)
    tenants = {**after.tenants, **{terms.name: _since(terms, registry, now) for terms in declared.tenants}}
    keys = _with_keys(after, {key.hash: key for key in declared.keys if mark_of(key) not in left}, left, now)
    of_file = {key.hash for key in declared.keys}
    others = (key for key in keys.values() if key.hash not in of_file and key.stands(now))
    refuse_shared_windows(declared.keys, others)
    changed = {name for name, terms in tenants.items() if registry.tenants.get(name) != terms}
    changed |= {mark_of(key) for key in keys.values() if registry.keys.get(key.id) != key}
    known = named & registry.provisioned.keys()
    sorts = (named - known, changed & known, removed, left)
    return TenantRegistry(tenants, keys, dict.fromkeys(named, declared.file)), SyncResult(
        *(tuple(sorted(each)) for each in sorts)
    )


def read_in_new_tenants(registry: TenantRegistry, declared: ConfiguredTenants, now: float) -> TenantRegistry:
    """Add the file's tenants that the registry does not have, and change nothing else."""
    new = {
        terms.name: replace(terms, created_at=now) for terms in declared.tenants if terms.name not in registry.tenants
    }
    provisioned = {**registry.provisioned, **dict.fromkeys(new, declared.file)}
    return replace(registry, tenants={**registry.tenants, **new}, provisioned=provisioned)


def _refuse_claimed_twice(registry: TenantRegistry, declared: ConfiguredTenants, now: float) -> None:
    made_tenants = registry.tenants.keys() - registry.provisioned.keys()
    for name in (terms.name for terms in declared.tenants if terms.name in made_tenants):
        what = f"{declared.file} names the tenant {name!r}, and a command made one of that name in the store"
        raise taken(f"{what}: take it out of the file, or run `loupe tenants delete {name}`", "name")
    of_file = {key.hash: key for key in declared.keys}
    new = {mark_of(key): key for key in declared.keys if mark_of(key) not in registry.provisioned}
    for made in (key for key in registry.keys.values() if key.origin == "made"):
        key, same = of_file.get(made.hash), "key"
        if key is None and made.stands(now):
            key, same = new.get(mark_of(made)), "name"
        if key is not None and (mark_of(key) in new or key.tenant != made.tenant):
            what = f"{declared.file} names the key {key.tenant}/{key.name}, and a command made one of the same {same}"
            raise taken(f"{what}, {made.tenant}/{made.name} ({made.id}): give the file's another {same}", same)


def _ended_by_commands(registry: TenantRegistry, declared: ConfiguredTenants) -> set[str]:
    """Return the keys that a command revoked or replaced, as older versions allowed.

    They do not come back automatically: the command was given for a reason.
    """
    of_file = {mark_of(key): key.hash for key in declared.keys if mark_of(key) in registry.provisioned}
    same = {mark_of(key): key for key in registry.keys.values() if of_file.get(mark_of(key)) == key.hash}
    ended = {mark for mark, key in same.items() if key.revoked_at is not None}
    replaced_by_file: set[str] = set()
    for other in registry.keys.values():
        mark = mark_of(other)
        if mark in same and other.origin == "made" and other.created_at > same[mark].created_at:
            ended.add(mark)
        if mark in same and other.is_provisioned and other.hash != same[mark].hash:
            replaced_by_file.add(mark)
    return ended - replaced_by_file


def _since(terms: TenantSettings, registry: TenantRegistry, now: float) -> TenantSettings:
    known = registry.tenants.get(terms.name)
    return replace(terms, created_at=known.created_at if known else now)


def _with_keys(registry: TenantRegistry, of_file: dict[str, ApiKey], left: set[str], now: float) -> dict[str, ApiKey]:
    """Return all keys by id: the file's keys (given by hash) as the file has them, and its former keys revoked."""
    keys: dict[str, ApiKey] = {}
    for known in registry.keys.values():
        key = of_file.pop(known.hash, None)
        if key is not None:
            known = replace(key, id=known.id, created_at=known.created_at, last_used_at=known.last_used_at)
        elif known.is_provisioned and mark_of(known) not in left:
            known = replace(known, revoked_at=now)
        keys[known.id] = known
    return {**keys, **{key.id: replace(key, created_at=now) for key in of_file.values()}}
