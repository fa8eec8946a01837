"""The services of one process for decisions, labels, content, pacing and tenants, opened at its start.

Part of the composition root.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from gateway import stores
from gateway.api.services import ApiServices
from gateway.api.usage import UsageReports
from gateway.app.generation import ConfigGenerations
from gateway.billing.store import BudgetStore
from gateway.config.secrets import key_secret
from gateway.config.settings import Settings
from gateway.outcomes.comparison import LabelledRows
from gateway.outcomes.log.content import ContentStore, delete_content
from gateway.outcomes.log.decisions import LabelledDecisions
from gateway.outcomes.log.schema import content_path, decisions_path
from gateway.outcomes.log.writer import DecisionLog, Encodings
from gateway.outcomes.spend import SqliteSpend
from gateway.pipeline.observer import Observer
from gateway.routing.pacing.controller import PacingController
from gateway.stores.base import OpenTenantStore
from gateway.stores.sqlite.pacing import SqlitePacingStore
from gateway.stores.sqlite.secondary import check_secondary, secondary_path
from gateway.telemetry.comparison import ComparisonGauges
from gateway.telemetry.gauges import BudgetGauges, watch_lag, watch_paces
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.multiprocess import SharedMetrics
from gateway.telemetry.request_log import RequestLog
from gateway.tenants.key_hash import KeyHash
from gateway.tenants.management import TenantManagement
from gateway.tenants.store import TenantStore
from gateway.tenants.tenant import Tenants
from gateway.tenants.watch import TenantWatch
from models.cache import QueryEncoder

_log = logging.getLogger("loupe")
BATCH_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


class RecordServices:
    """The services for what a configuration keeps of requests: created with the gateway, opened when it starts."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics

    def open(self, encodings: Encodings, stack: AsyncExitStack) -> Sequence[Observer]:
        """Open the decision log, running until the stack ends; nothing if the configuration keeps none. Raises
        StoreError.
        """
        settings, store = self._settings, self._settings.store.path
        if not settings.decisions.keep:
            return ()
        content = ContentStore(content_path(store), settings.content.days) if settings.content.keep else None
        log = DecisionLog(decisions_path(store), encodings, content, settings.decisions.days)
        log.open()
        stack.push_async_callback(asyncio.to_thread, log.close)
        watch = self._metrics.watch
        watch("loupe_decision_queue", "Decisions that wait to be written", lambda: log.queued)
        lost = "Decisions lost to a full queue, or that no table takes"
        watch("loupe_decisions_lost", lost, lambda: log.lost, total=True)
        watch("loupe_decision_write_seconds", "The longest that a group took to write", lambda: log.longest_write_s)
        let_go = "Requests whose content was dropped because the queue or the disk was full"
        watch("loupe_content_lost", let_go, lambda: log.content_lost, total=True)
        return (log,)

    def serve(self, routes: ApiServices, observers: Sequence[Observer], stack: AsyncExitStack) -> None:
        """Let tenants read and label decisions, until the stack ends."""
        if self._settings.decisions.keep:
            decisions = LabelledDecisions(decisions_path(self._settings.store.path), observers)
            stack.push_async_callback(asyncio.to_thread, decisions.close)
            routes.decisions = decisions

    def delete_content(self, tenant: str) -> int:
        """Delete a tenant's content. Returns the number of rows. Raises StoreError. Blocks."""
        return delete_content(self._settings.store.path, tenant)


@dataclass(frozen=True, slots=True)
class PacingServices:
    """The services of pacing: `spend` is an observer; usage is read from `reports`."""

    controller: PacingController
    spend: SqliteSpend
    reports: UsageReports


@dataclass(frozen=True, slots=True)
class PacingContext:
    """The inputs that pacing needs from the service. `processes` processes spend from the same budgets."""

    settings: Settings
    metrics: Metrics
    clock: Callable[[], float]
    report: Callable[[str, BaseException], None]
    processes: int


def begin_pacing(store: BudgetStore, around: PacingContext, stack: AsyncExitStack) -> PacingServices:
    """Start pacing, running until the stack ends.

    What is learned is kept in the embedded store's secondary file, whichever store has the budgets. Raises SchemaError
    for a file that this version cannot use.
    """
    path, clock = secondary_path(around.settings.store.path), around.clock
    check_secondary(path)
    controller = PacingController(
        store, SqlitePacingStore(path), clock=clock, report=around.report, processes=around.processes
    )
    spend = SqliteSpend(path, around.report)
    stack.push_async_callback(controller.close)
    stack.push_async_callback(spend.flush)
    for task in (controller.keep_for_ever(), spend.flush_for_ever()):
        stack.callback(asyncio.ensure_future(task).cancel)
    watch_paces(controller.known_paces, around.metrics, clock)
    return PacingServices(controller, spend, UsageReports(store, spend, controller, clock))


@dataclass(frozen=True, slots=True)
class TenantServices:
    """The services of tenants: requests look up `tenants`, which `live` fills."""

    store: TenantStore
    key_hash: KeyHash
    management: TenantManagement
    tenants: Tenants
    live: TenantWatch


def open_tenant_store(settings: Settings) -> OpenTenantStore:
    """Open the tenant store of a configuration, at the same address as its budgets. Raises
    ConfigError or StoreError.
    """
    section = settings.store
    return stores.KINDS[section.kind].open_tenants(section.address)


def begin_tenants(
    store: TenantStore, settings: Settings, report: Callable[[str, BaseException], None]
) -> TenantServices:
    """Create the services of tenants. Raises ConfigError or StoreError."""
    variable = settings.server.key_secret_env
    secret, is_kept = store.secret(key_secret(variable))
    if is_kept:
        _log.warning("%s is not set: keys are hashed with a secret that is kept in the store, beside them", variable)
    key_hash = KeyHash(secret)
    management = TenantManagement(store, key_hash, time.time, [candidate.name for candidate in settings.candidates])
    tenants = Tenants(key_hash, {})
    return TenantServices(store, key_hash, management, tenants, TenantWatch(store, tenants, report=report))


def watch_parts(metrics: Metrics, encode: QueryEncoder, log: RequestLog) -> None:
    """Register metrics of caches and queues."""
    watch = metrics.watch
    watch("loupe_encoder_cache_hits", "Texts and images found in the cache", lambda: encode.stats.hits, total=True)
    watch("loupe_encoder_cache_misses", "Texts and images that were encoded", lambda: encode.stats.misses, total=True)
    watch("loupe_encoder_waiting", "Texts and images that wait to be encoded", lambda: encode.stats.waiting)
    metrics.watch_sizes(
        "loupe_encoder_batch_size", "Texts or images in a batch", BATCH_SIZES, lambda: encode.stats.batch_sizes
    )
    watch("loupe_log_queue", "Log lines that wait to be written", lambda: log.waiting)
    watch("loupe_log_lines_lost", "Log lines lost to a full queue", lambda: log.lost, total=True)
    watch("loupe_workers", "Processes that serve", lambda: 1)


def watch_requests(metrics: Metrics, generations: ConfigGenerations) -> None:
    """Register metrics of the config generations and their requests in progress."""
    metrics.watch("loupe_editions", "Configurations that still have requests", lambda: generations.count, merge="max")
    metrics.watch("loupe_requests_in_flight", "Requests under way", lambda: generations.users)


@dataclass(frozen=True, slots=True)
class MetricWatches:
    """The periodic measurements, which run as long as the service does."""

    metrics: Metrics
    shared: SharedMetrics
    store: BudgetStore
    live: TenantWatch
    labelled_rows: LabelledRows
    report: Callable[[str, BaseException], None]

    async def open(self, stack: AsyncExitStack, *, first: bool) -> None:
        """Start measuring, until the stack ends. Only the `first` worker measures what all workers share."""
        tasks = [watch_lag(self.metrics.lagged)]
        if first:
            live = self.live
            budgets = BudgetGauges(self.metrics, lambda: live.registry, self.store.balances, report=self.report)
            comparison = ComparisonGauges(self.metrics, self.labelled_rows, report=self.report)
            tasks += [budgets.refresh_for_ever(), comparison.refresh_for_ever()]
        await self.shared.open()
        stack.push_async_callback(self.shared.publish)
        for task in (*tasks, self.shared.publish_for_ever()):
            stack.callback(asyncio.ensure_future(task).cancel)
