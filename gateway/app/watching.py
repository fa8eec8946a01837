"""What is measured of a running gateway's parts, beside its requests. Part of the composition root."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from gateway.app.generation import Editions
from gateway.billing.store import BudgetStore
from gateway.outcomes.comparison import LabelledRows
from gateway.telemetry.comparison import ComparisonGauges
from gateway.telemetry.gauges import BudgetGauges
from gateway.telemetry.loop_lag import watch_lag
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.multiprocess import SharedMetrics
from gateway.telemetry.request_log import RequestLog
from gateway.tenants.watch import LiveTenants
from models.cache import QueryEncoder

BATCH_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def watch_parts(metrics: Metrics, encode: QueryEncoder, log: RequestLog) -> None:
    """Caches and queues."""
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


def watch_requests(metrics: Metrics, editions: Editions) -> None:
    """What is in service, and what is under way in it."""
    metrics.watch("loupe_editions", "Configurations that still have requests", lambda: editions.count, merge="max")
    metrics.watch("loupe_requests_in_flight", "Requests under way", lambda: editions.users)


@dataclass(frozen=True, slots=True)
class Measures:
    """What is measured now and then, as long as the service runs."""

    metrics: Metrics
    shared: SharedMetrics
    store: BudgetStore
    live: LiveTenants
    labelled_rows: LabelledRows
    report: Callable[[str, BaseException], None]

    async def open(self, stack: AsyncExitStack, *, first: bool) -> None:
        """Until the stack ends. What workers have in common, the `first` of them looks up."""
        tasks = [watch_lag(self.metrics.lagged)]
        if first:
            live = self.live
            budgets = BudgetGauges(self.metrics, lambda: live.roster, self.store.balances, report=self.report)
            comparison = ComparisonGauges(self.metrics, self.labelled_rows, report=self.report)
            tasks += [budgets.refresh_for_ever(), comparison.refresh_for_ever()]
        await self.shared.open()
        stack.push_async_callback(self.shared.publish)
        for task in (*tasks, self.shared.publish_for_ever()):
            stack.callback(asyncio.ensure_future(task).cancel)
