"""What the routes work on: the composition root fills it in as the service starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.api.usage import UsageReports
from gateway.outcomes.label import Label, LabelResult
from gateway.tenants.management import TenantManagement
from gateway.tenants.provisioning import SyncResult
from gateway.tenants.tenant import Tenants


class Decisions(Protocol):
    """The log. Both raise StoreError."""

    async def shown(self, tenant: str, request_id: str) -> Mapping[str, Any] | None:
        """A decision of this tenant, or None."""
        ...

    async def label(self, tenant: str, label: Label) -> LabelResult | None:
        """Keep a label on a request of this tenant, or None. Raises LabelError."""
        ...


class ReloadReport(Protocol):
    """What a reload did: sections that differ from before, and what became of tenants and keys."""

    @property
    def changed(self) -> Sequence[str]: ...
    @property
    def readings(self) -> SyncResult: ...


@dataclass(frozen=True, slots=True)
class AdminState:
    """What the routes work on, once the service runs. `refresh` lets this process see what was changed; blocking."""

    management: TenantManagement
    refresh: Callable[[], None]
    reports: UsageReports
    reload: Callable[[], Awaitable[ReloadReport]]
    delete_content: Callable[[str], int]
    """Of a tenant; how many rows. Blocking; raises StoreError."""


@dataclass(slots=True)
class ApiServices:
    """The state behind the routes, None where the service has not started yet.

    Attributes:
        policies: names of the configuration in service that route, with their quality weights.
        scrape: gives the body of `/metrics`.
        admin_key: opens `/admin`; `admin_key_variable` is the environment variable that it comes from.
        decisions: the log of decisions; None also where the operator keeps none.
    """

    policies: Mapping[str, float]
    scrape: Callable[[], Awaitable[bytes]]
    admin_key: str | None
    admin_key_variable: str
    tenants: Tenants | None = None
    reports: UsageReports | None = None
    decisions: Decisions | None = None
    admin: AdminState | None = None
