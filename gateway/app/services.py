"""Decisions, labels and content in one process, opened: who writes them, who may ask for them.

Part of the composition root.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from fastapi import FastAPI

from gateway.api.decisions import DecisionRoutes
from gateway.config.settings import Settings
from gateway.outcomes.log.content import ContentStore, delete_content
from gateway.outcomes.log.decisions import LabelledDecisions
from gateway.outcomes.log.schema import content_path, decisions_path
from gateway.outcomes.log.writer import DecisionLog, Encodings
from gateway.pipeline.observer import Observer
from gateway.telemetry.metrics import Metrics
from gateway.tenants.tenant import Tenants


class RecordKeeping:
    """What a configuration keeps of requests: made with the gateway, opened and served when it starts."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._routes = DecisionRoutes()

    def mount(self, app: FastAPI) -> None:
        self._routes.mount(app)

    def open(self, encodings: Encodings, stack: AsyncExitStack) -> Sequence[Observer]:
        """The log, running until the stack ends; nothing where the configuration keeps none. Raises StoreError."""
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
        let_go = "Requests whose content was let go, for want of room"
        watch("loupe_content_lost", let_go, lambda: log.content_lost, total=True)
        return (log,)

    def serve(self, tenants: Tenants, observers: Sequence[Observer], stack: AsyncExitStack) -> None:
        """From here on tenants may ask for decisions and label them, until the stack ends."""
        self._routes.tenants = tenants
        if self._settings.decisions.keep:
            decisions = LabelledDecisions(decisions_path(self._settings.store.path), observers)
            stack.push_async_callback(asyncio.to_thread, decisions.close)
            self._routes.decisions = decisions

    def delete_content(self, tenant: str) -> int:
        """Of a tenant; how many rows. Raises StoreError. Blocks."""
        return delete_content(self._settings.store.path, tenant)
