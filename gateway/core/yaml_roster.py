"""How the configuration's tenants and keys get into a roster: what the file names is the file's.

Whatever a file names follows that file each time the file is read in. What an earlier reading named and this one does
not is taken off: a key that is struck from the file must stop. What commands made is left alone, and a name that both
the file and a command claim is refused. The file that was read in last is the one that counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.core.roster import ApiKey, Roster, TenantTerms, mark_of, put_key, put_tenant, remove_tenant, revoke_key
from gateway.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Declared:
    """What a configuration names, and the file that names it, as people are told of that file."""

    tenants: Sequence[TenantTerms]
    keys: Sequence[ApiKey]
    file: str


@dataclass(frozen=True, slots=True)
class Readings:
    """What reading in did, by names of tenants (`acme`) and of keys (`acme/key/laptop`).

    `left` are keys that the file names and a command ended, when Loupe still let it: they stay ended.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def read_in(roster: Roster, declared: Declared, now: float) -> tuple[Roster, Readings]:
    """Take over what the file names, and take off what the file names no longer.

    Raises InvalidRequest (409) when a command made a tenant or a key that the file names.
    """
    before = roster
    named = [*(terms.name for terms in declared.tenants), *map(mark_of, declared.keys)]
    removed = sorted(before.provisioned.keys() - set(named))
    for mark in removed:
        roster = _taken_off(roster, mark, now)
    for terms in declared.tenants:
        roster = _with_tenant(roster, terms, declared.file, now)
    roster, left = _with_keys(roster, before, declared, now)
    changed = {name for name, terms in roster.tenants.items() if before.tenants.get(name) != terms}
    changed |= {mark_of(key) for key in roster.keys.values() if before.keys.get(key.id) != key}
    readings = Readings(
        added=tuple(sorted(set(named) - before.provisioned.keys())),
        changed=tuple(sorted(changed & set(named) & before.provisioned.keys())),
        removed=tuple(removed),
        left=tuple(sorted(left)),
    )
    return replace(roster, provisioned=dict.fromkeys(named, declared.file)), readings


def read_in_new_tenants(roster: Roster, declared: Declared, now: float) -> Roster:
    """Take over the tenants that the roster does not have, and nothing else."""
    for terms in declared.tenants:
        if terms.name not in roster.tenants:
            roster = _with_tenant(roster, terms, declared.file, now)
            roster = replace(roster, provisioned={**roster.provisioned, terms.name: declared.file})
    return roster


def _taken_off(roster: Roster, mark: str, now: float) -> Roster:
    tenant, _, name = mark.partition("/key/")
    if not name:
        return remove_tenant(roster, tenant, now) if tenant in roster.tenants else roster
    for key in list(roster.keys_of(tenant)):
        if key.name == name and key.origin == "yaml":
            roster = revoke_key(roster, key.id, now)
    return roster


def _with_tenant(roster: Roster, terms: TenantTerms, file: str, now: float) -> Roster:
    known = roster.tenants.get(terms.name)
    if known is not None and terms.name not in roster.provisioned:
        raise _claimed_twice(
            f"{file} names the tenant {terms.name!r}, and a command made one of that name in the store: take it out of "
            f"the file, or run `loupe tenants delete {terms.name}`"
        )
    return put_tenant(roster, replace(terms, created_at=known.created_at if known else now))


def _with_keys(roster: Roster, before: Roster, declared: Declared, now: float) -> tuple[Roster, list[str]]:
    """The file's keys, each in place of the one that the file had under its name before; and those that stay ended."""
    by_hash = {key.hash: key for key in before.keys.values()}
    by_mark: dict[str, list[ApiKey]] = defaultdict(list)
    for known in before.keys.values():
        by_mark[mark_of(known)].append(known)
    named, left = {key.hash for key in declared.keys}, []
    for key in declared.keys:
        same = by_hash.get(key.hash)
        others = [other for other in by_mark[mark_of(key)] if other.hash != key.hash]
        is_known = mark_of(key) in before.provisioned
        if is_known and same is not None and mark_of(same) == mark_of(key) and _was_ended(same, others):
            left.append(mark_of(key))
            continue
        _refuse_claimed_twice(key, same, others, declared.file, now, is_known=is_known)
        for other in others:
            if other.origin == "yaml" and other.hash not in named:
                roster = revoke_key(roster, other.id, now)
        found = replace(key, created_at=now)
        if same is not None:
            found = replace(key, id=same.id, created_at=same.created_at, last_used_at=same.last_used_at)
        if found != same:
            roster = put_key(roster, found)
    return roster, left


def _was_ended(same: ApiKey, others: Sequence[ApiKey]) -> bool:
    """Whether a command revoked or rotated a key of the file, as older versions let it; whoever did had a reason."""
    if any(other.is_provisioned for other in others):
        return False  # the file had another key under this name
    if same.revoked_at is not None:
        return True
    return any(other.origin == "made" and other.created_at > same.created_at for other in others)


def _refuse_claimed_twice(
    key: ApiKey, same: ApiKey | None, others: Sequence[ApiKey], file: str, now: float, *, is_known: bool
) -> None:
    what = f"{file} names the key {key.tenant}/{key.name}, and a command made"
    if same is not None and same.origin == "made" and not (is_known and same.tenant == key.tenant):
        raise _claimed_twice(f"{what} the same key in the store, {same.tenant}/{same.name} ({same.id}): name another")
    for other in others:
        if other.origin == "made" and other.stands(now):
            way_out = f"take it out of the file, or run `loupe keys revoke {other.id}`"
            raise _claimed_twice(f"{what} one of that name in the store ({other.id}): {way_out}")


def _claimed_twice(message: str) -> InvalidRequest:
    return InvalidRequest(message, status=409, code="already_exists")
