"""The services that the routes use: the composition root fills them in as the service starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.api.usage import UsageReports
from gateway.outcomes.label import Label, LabelResult
from gateway.routing.circuit_breaker import Rest
from gateway.tenants.management import TenantManagement
from gateway.tenants.provisioning import SyncResult
from gateway.tenants.tenant import Tenants


class Decisions(Protocol):
    """The log of decisions. Both methods raise StoreError."""

    async def shown(self, tenant: str, request_id: str) -> Mapping[str, Any] | None:
        """Return a decision of this tenant, or None."""
        ...

    async def label(self, tenant: str, label: Label) -> LabelResult | None:
        """Keep a label on a request of this tenant; return None for an unknown request. Raises LabelError."""
        ...


class ReloadReport(Protocol):
    """The result of a reload: the sections that changed, and the changes to tenants and keys."""

    @property
    def changed(self) -> Sequence[str]: ...
    @property
    def readings(self) -> SyncResult: ...


@dataclass(frozen=True, slots=True)
class AdminState:
    """The services of the admin routes, once the gateway runs.

    `refresh` makes changes in the store visible in this process; blocking.
    """

    management: TenantManagement
    refresh: Callable[[], None]
    reports: UsageReports
    reload: Callable[[], Awaitable[ReloadReport]]
    delete_content: Callable[[str], int]
    """Delete the content of a tenant. Returns the number of rows. Blocking; raises StoreError."""


@dataclass(slots=True)
class ApiServices:
    """The state behind the routes. Members are None until the service has started.

    Attributes:
        policies: the policies of the configuration in service, with their quality weights.
        scrape: returns the body of `/metrics`.
        admin_key: opens `/admin`; `admin_key_variable` is the environment variable that it comes from.
        decisions: the log of decisions; None also if the operator keeps no decisions.
        resting: returns the candidates that are not tried now, and why.
    """

    policies: Mapping[str, float]
    scrape: Callable[[], Awaitable[bytes]]
    admin_key: str | None
    admin_key_variable: str
    tenants: Tenants | None = None
    reports: UsageReports | None = None
    decisions: Decisions | None = None
    admin: AdminState | None = None
    resting: Callable[[], Mapping[str, Rest]] = dict
