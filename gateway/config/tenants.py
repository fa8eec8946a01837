"""Tenants and keys from their sections of the configuration, as they are read into the tenant registry."""

from __future__ import annotations

from pathlib import Path

from gateway.config.settings import ProvisionedKeyConfig, Settings
from gateway.errors import ConfigError
from gateway.tenants.key_hash import KeyHash
from gateway.tenants.provisioning import ConfiguredTenants
from gateway.tenants.registry import ApiKey


def declared_in(settings: Settings, key_hash: KeyHash, config: Path | None) -> ConfiguredTenants:
    """Return the tenants and keys that a configuration file names.

    Raises ConfigError for a key whose variable is not set, and for a key that appears twice.
    """
    keys: list[ApiKey] = []
    for section in settings.tenants:
        for each in section.keys:
            key = _key(section.name, each, key_hash)
            if any(other.hash == key.hash for other in keys):
                raise ConfigError(f"tenant {section.name}: one of its keys appears twice, here or at another tenant")
            keys.append(key)
    return ConfiguredTenants(declared_tenants(settings, config).tenants, keys, _shown(config))


def declared_tenants(settings: Settings, config: Path | None) -> ConfiguredTenants:
    """Return the tenants that a configuration file names, without keys: no variable is looked up."""
    return ConfiguredTenants([section.terms() for section in settings.tenants], (), _shown(config))


def _key(tenant: str, section: ProvisionedKeyConfig, key_hash: KeyHash) -> ApiKey:
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


def _shown(config: Path | None) -> str:
    return "the configuration" if config is None else str(config.resolve())
