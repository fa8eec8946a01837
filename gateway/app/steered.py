"""Pacing, exploration and the report of what was spent, in one process, opened and looked after.

Part of the composition root.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from gateway.api.usage import Books
from gateway.billing.store import BudgetStore
from gateway.config.settings import Settings
from gateway.outcomes.spend import SqliteSpend
from gateway.routing.pacing.controller import Steering
from gateway.stores.sqlite.beside import beside, refuse_other_tables
from gateway.stores.sqlite.pacing import SqlitePaces
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.paces import watch_paces


@dataclass(frozen=True, slots=True)
class Steered:
    """`spend` is an observer; `books` is what usage is read from."""

    steering: Steering
    spend: SqliteSpend
    books: Books


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What steering needs of the service. `processes` spend from the same budgets."""

    settings: Settings
    metrics: Metrics
    clock: Callable[[], float]
    report: Callable[[str, BaseException], None]
    processes: int


def begin_steering(store: BudgetStore, around: Surroundings, stack: AsyncExitStack) -> Steered:
    """Running until the stack ends. What is learned is kept beside the embedded store's file, whichever has budgets.

    Raises SchemaError for a file that this version cannot use.
    """
    path, clock = beside(around.settings.store.path), around.clock
    refuse_other_tables(path)
    steering = Steering(store, SqlitePaces(path), clock=clock, report=around.report, processes=around.processes)
    spend = SqliteSpend(path, around.report)
    stack.push_async_callback(steering.close)
    stack.push_async_callback(spend.flush)
    for task in (steering.keep_for_ever(), spend.flush_for_ever()):
        stack.callback(asyncio.ensure_future(task).cancel)
    watch_paces(steering, around.metrics, clock)
    return Steered(steering, spend, Books(store, spend, steering, clock))
