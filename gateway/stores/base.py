"""What a kind of store is, and what its opening needs to know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.billing.store import BudgetStore
from gateway.tenants.store import TenantStore


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where state is kept, as the configuration says.

    Attributes:
        path: the SQLite file of an embedded store.
        url: gives the address of a store behind a network; raises ConfigError where no address is set.
        limit_s: seconds that one call of a store behind a network may take.
        local_allowance: nanodollars of each budget that a process may spend while its store is away; None: nothing.
    """

    path: Path
    url: Callable[[], str]
    limit_s: float = 0.05
    local_allowance: int | None = None


class Watch(Protocol):
    """A function that shows a number as a metric: `gateway.telemetry.metrics.Metrics.watch`."""

    def __call__(self, name: str, text: str, read: Callable[[], float], /) -> None: ...


@dataclass(frozen=True, slots=True)
class StoreSurroundings:
    """What a running store gets from its process: `clock` (seconds since the epoch), `watch`, `warn`, and the `stack`
    that closes what was opened.
    """

    clock: Callable[[], float]
    watch: Watch
    warn: Callable[[str], None]
    stack: AsyncExitStack


class OpenTenantStore(TenantStore, Protocol):
    """A tenant store that is open until it is closed."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StoreKind:
    """A kind of store: how its budgets and its tenants are opened. Both raise ConfigError or StoreError."""

    open_budgets: Callable[[StoreAddress, StoreSurroundings], Awaitable[BudgetStore]]
    open_tenants: Callable[[StoreAddress], OpenTenantStore]
