"""How the configuration's tenants and keys are read into a roster.

The roster is the truth. Of the configuration it takes what is new there or was changed there since it was read in last;
all else stays as it was left by commands. What was read in and stands there no longer is taken off: a key that is
struck from the file must stop. With `always` everything that the configuration names is read in, changed or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.core.roster import ApiKey, Roster, TenantTerms, put_key, put_tenant, remove_tenant, revoke_key


@dataclass(frozen=True, slots=True)
class Declared:
    """What a configuration names. `digests` are of its sections, by the names that `Roster.read` has."""

    tenants: Sequence[TenantTerms]
    keys: Sequence[ApiKey]
    digests: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Readings:
    """What reading in did, by the names that `Roster.read` has. `left`: new there, but known here already."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def mark_of(key: ApiKey) -> str:
    """What `Roster.read` calls a key of the configuration."""
    return f"{key.tenant}/key/{key.name}"


def read_in(roster: Roster, declared: Declared, now: float, *, always: bool) -> tuple[Roster, Readings]:
    """Raises RequestError when what is declared does not fit what is there."""
    before = roster
    due = {mark for mark, digest in declared.digests.items() if always or before.read.get(mark) != digest}
    left = set() if always else {mark for mark in due if mark not in before.read and _knows(before, declared, mark)}
    gone = [mark for mark in before.read if mark not in declared.digests]
    for mark in sorted(gone, key=lambda mark: "/" not in mark):  # keys first
        roster = _taken_off(roster, mark, now)
    for terms in declared.tenants:
        if terms.name in due - left:
            known = roster.tenants.get(terms.name)
            roster = put_tenant(roster, replace(terms, created_at=known.created_at if known else now))
    for key in declared.keys:
        comes_back = key.tenant in roster.tenants and key.tenant not in before.tenants
        if comes_back or (mark_of(key) in due - left and key.tenant in roster.tenants):
            roster = _with_key(roster, key, now)
    readings = Readings(
        added=tuple(sorted(due - left - set(before.read))),
        changed=tuple(sorted((due - left) & set(before.read))),
        removed=tuple(sorted(gone)),
        left=tuple(sorted(left)),
    )
    return replace(roster, read=dict(declared.digests)), readings


def _knows(roster: Roster, declared: Declared, mark: str) -> bool:
    if mark in roster.tenants:
        return True
    hashes = {key.hash for key in declared.keys if mark_of(key) == mark}
    return any(key.hash in hashes and key.tenant == mark.partition("/")[0] for key in roster.keys.values())


def _taken_off(roster: Roster, mark: str, now: float) -> Roster:
    tenant, _, name = mark.partition("/key/")
    if not name:
        return remove_tenant(roster, tenant, now) if tenant in roster.tenants else roster
    for key in list(roster.keys_of(tenant)):
        if key.name == name and key.origin == "yaml":
            roster = revoke_key(roster, key.id, now)
    return roster


def _with_key(roster: Roster, key: ApiKey, now: float) -> Roster:
    """The declared key in place of the one that the configuration had under its name before."""
    for old in list(roster.keys_of(key.tenant)):
        if old.name == key.name and old.origin == "yaml" and old.hash != key.hash:
            roster = revoke_key(roster, old.id, now)
    same = next((old for old in roster.keys_of(key.tenant) if old.hash == key.hash), None)
    if same is not None:
        key = replace(key, id=same.id, created_at=same.created_at, last_used_at=same.last_used_at)
    return put_key(roster, key)
