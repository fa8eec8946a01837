"""The interface of a kind of store, and the inputs for opening one."""

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
    """The address of a store, from the configuration.

    Attributes:
        path: the SQLite file of an embedded store.
        url: returns the address of a store on the network; raises ConfigError if no address is set.
        url_variable: the environment variable that holds the address, for messages.
        limit_s: seconds that one call of a store on the network may take.
        local_allowance: nanodollars of each budget that a process may spend while its store is away; None: nothing.
    """

    path: Path
    url: Callable[[], str]
    url_variable: str = "LOUPE_REDIS_URL"
    limit_s: float = 0.05
    local_allowance: int | None = None


class Watch(Protocol):
    """A function that shows a number as a metric: `gateway.telemetry.metrics.Metrics.watch`."""

    def __call__(self, name: str, text: str, read: Callable[[], float], /) -> None: ...


@dataclass(frozen=True, slots=True)
class StoreSurroundings:
    """The parts of the process that a running store uses.

    `clock` gives seconds since the epoch, `watch` registers metrics, `warn` logs, and `stack` closes what was opened.
    """

    clock: Callable[[], float]
    watch: Watch
    warn: Callable[[str], None]
    stack: AsyncExitStack


class OpenTenantStore(TenantStore, Protocol):
    """A tenant store that is open until `close`."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StoreKind:
    """A kind of store: how its budgets and its tenants are opened. Both functions raise ConfigError or StoreError."""

    open_budgets: Callable[[StoreAddress, StoreSurroundings], Awaitable[BudgetStore]]
    open_tenants: Callable[[StoreAddress], OpenTenantStore]
