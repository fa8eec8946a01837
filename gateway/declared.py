"""Tenants and keys from their sections of the configuration, as they are read into the roster."""

from __future__ import annotations

from gateway.core.key_hash import KeyHash
from gateway.core.roster import ApiKey, TenantTerms
from gateway.core.yaml_roster import Declared, mark_of
from gateway.errors import ConfigError
from gateway.settings import KeySettings, Settings, TenantSettings

CAME_LATER = ("pacing", "exploration")


def declared_in(settings: Settings, key_hash: KeyHash) -> Declared:
    """Raises ConfigError for a key whose variable is not set, and for one that stands twice."""
    tenants: list[TenantTerms] = []
    keys: list[ApiKey] = []
    digests: dict[str, str] = {}
    for section in settings.tenants:
        tenants.append(section.terms())
        digests[section.name] = _digest(key_hash, section, without="keys")
        for each in section.keys:
            key = _key(section.name, each, key_hash)
            if any(other.hash == key.hash for other in keys):
                raise ConfigError(f"tenant {section.name}: one of its keys stands twice, here or at another tenant")
            keys.append(key)
            digests[mark_of(key)] = _digest(key_hash, each, without="env", also=key.hash)
    return Declared(tenants, keys, digests)


def declared_tenants(settings: Settings, key_hash: KeyHash) -> Declared:
    """The same without keys: no variable is looked up."""
    bare = tuple(section.model_copy(update={"keys": ()}) for section in settings.tenants)
    return declared_in(settings.model_copy(update={"tenants": bare}), key_hash)


def _key(tenant: str, section: KeySettings, key_hash: KeyHash) -> ApiKey:
    known = section.hash()
    hashed = key_hash.over(bytes.fromhex(known)).hex()
    return ApiKey(
        id=f"key_{hashed[:16]}",
        tenant=tenant,
        name=section.name or known[:12],
        hash=hashed,
        created_at=0.0,
        expires_at=section.expires_at(),
        budgets=tuple(budget.budget() for budget in section.budgets),
        candidates=section.candidates,
        origin="yaml",
    )


def _digest(key_hash: KeyHash, section: TenantSettings | KeySettings, *, without: str, also: str = "") -> str:
    """Keyed, for a key's own digest is among what it is of. Members that came later count once they say something: a
    file that is as it was has the digest that an older version gave it.
    """
    fields = type(section).model_fields
    silent = {name for name in CAME_LATER if name in fields and getattr(section, name) == fields[name].default}
    written = section.model_dump_json(exclude={without, "sha256", *silent})
    return key_hash.of(written.encode() + also.encode()).hex()[:32]
