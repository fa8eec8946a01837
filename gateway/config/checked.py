"""The checked configuration: values that the service is built from, with nothing opened yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.config.candidates import candidate_of
from gateway.config.secrets import secret_from
from gateway.config.settings import ProviderConfig, Settings
from gateway.images.fetch import FetchPolicy
from gateway.providers.base import Endpoint
from gateway.routing.catalog import Catalog

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CheckedConfig:
    """The values that a configuration asks for, read and checked, with nothing opened yet."""

    settings: Settings
    catalog: Catalog
    endpoints: Mapping[str, Endpoint]
    fetch_policy: FetchPolicy

    @classmethod
    def of(cls, settings: Settings) -> CheckedConfig:
        """Check a configuration. Raises ConfigError for unknown prices and missing secrets."""
        return cls(
            settings,
            Catalog(tuple(candidate_of(section, settings) for section in settings.candidates)),
            {name: _endpoint(name, section) for name, section in settings.providers.items()},
            _fetch_policy(settings),
        )

    @property
    def candidates(self) -> tuple[str, ...]:
        return tuple(candidate.name for candidate in self.catalog)


def _endpoint(name: str, section: ProviderConfig) -> Endpoint:
    return Endpoint(
        name=name,
        base_url=section.base_url,
        api_key=secret_from(section.api_key_env) if section.api_key_env else None,
        headers=tuple(section.headers.items()),
        connect_s=section.connect_s,
        first_byte_s=section.first_byte_s,
        idle_s=section.idle_s,
        total_s=section.total_s,
        max_connections=section.max_connections,
        kind=section.kind,
        proxy=section.proxy,
    )


def _fetch_policy(settings: Settings) -> FetchPolicy:
    images = settings.images
    return FetchPolicy(
        schemes=images.schemes,
        allow_hosts=frozenset(images.allow_hosts),
        max_bytes=int(images.max_mb * MEBIBYTE),
        max_pixels=images.max_pixels,
        total_timeout_s=images.timeout_s,
    )
