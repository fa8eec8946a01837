"""The router in service, kept equal to the artifact store's: a thread looks for another four times a second.

A promoted router is loaded, checked and tried in that thread, and takes its place between two requests. A router that
cannot be used is logged in one line and counted, and the previous router stays.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from gateway.config.settings import RouterConfig
from gateway.errors import ConfigError
from gateway.routing.catalog import Catalog
from gateway.routing.forecaster import RouterInService
from gateway.telemetry.metrics import Metrics
from models.base import Encoder
from routers.algorithms.cold_start import ColdStartRouter, widened
from routers.artifact import ArtifactError, EncoderFacts, bundled, load, refuse_misfit
from routers.artifact_store import ID_LENGTH, ArtifactStore, facts_of, usable
from routers.base import Router

LOOK_S = 0.25
_log = logging.getLogger("loupe")


class RouterWatch:
    """A holder of the router `in_service`, which forecasters follow. `fallback` serves while nothing is promoted."""

    def __init__(
        self, store: ArtifactStore | None, fallback: Router, encoder: EncoderFacts, *, look_s: float = LOOK_S
    ) -> None:
        """Prepare to look for another router every `look_s` seconds; `open` begins."""
        self.in_service = RouterInService(fallback)
        self.swaps = 0
        """Number of times that another router came into service since the start."""
        self.failures = 0
        """Number of times that a promoted router could not be used."""
        self._store = store
        self._fallback = fallback
        self._encoder = encoder
        self._look_s = look_s
        self._seen = b""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Load the router that was promoted last, or an earlier one if that cannot be used, and begin to look."""
        if self._store is None:
            return
        self._begin(self._store)
        self._thread = threading.Thread(target=self._look_for_ever, name="live-router", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()

    def _begin(self, store: ArtifactStore) -> None:
        try:
            self._seen = store.mark()
            stack = store.read(self._seen).stack
        except ArtifactError as error:
            self._failed(str(error))
            return
        for digest in reversed(stack):
            try:
                self.in_service.router = usable(store.load(digest), self._encoder)
                return
            except ArtifactError as error:
                self._failed(str(error))

    def look(self) -> None:
        """Load the router that was promoted since the last look; count and log one that cannot be
        used. Never raises.
        """
        if self._store is None:
            return
        try:
            self._take_promoted(self._store)
        except ArtifactError as error:
            self._failed(str(error))
        except Exception as error:  # any error: a watch that stops would serve an old router for ever
            self._failed(f"{type(error).__name__}: {error}")

    def _look_for_ever(self) -> None:
        while not self._stop.wait(self._look_s):
            self.look()

    def _take_promoted(self, store: ArtifactStore) -> None:
        mark = store.mark()
        if mark == self._seen:
            return
        self._seen = mark  # a router that fails is not tried again until another is promoted
        digest = store.read(mark).digest
        if digest == self.in_service.router.digest:
            return
        self.in_service.router = self._fallback if digest is None else usable(store.load(digest), self._encoder)
        self.swaps += 1
        _log.info("router %s is in service", self.in_service.router.digest[:ID_LENGTH])

    def _failed(self, why: str) -> None:
        self.failures += 1
        _log.error("router %s stays in service: %s", self.in_service.router.digest[:ID_LENGTH], why)


def live_router(section: RouterConfig, encoder: Encoder, given: Router | None = None) -> RouterWatch:
    """Return the watch for the configuration; `given` replaces `router.artifact`. Raises ConfigError."""
    try:
        facts = facts_of(encoder)
        fallback = given or load(artifact_path(section))
        refuse_misfit(fallback, facts)
    except (ArtifactError, OSError) as error:
        raise ConfigError(f"router.artifact: {error}") from error
    return RouterWatch(ArtifactStore(section.artifacts) if section.artifacts is not None else None, fallback, facts)


def watch_router(live: RouterWatch, metrics: Metrics) -> None:
    """Register metrics of the router in service and of promoted routers."""
    metrics.watch_info("loupe_router", "The router in service", lambda: {"digest": live.in_service.router.digest})
    watch = metrics.watch
    watch("loupe_router_swaps", "Routers that took another's place", lambda: live.swaps, total=True)
    watch("loupe_router_load_failures", "Promoted routers that could not be used", lambda: live.failures, total=True)


def widened_for(router: Router, catalog: Catalog) -> Router:
    """Return the router with columns for unknown candidates, from candidates of similar price; log
    each such candidate.
    """
    found = widened(router, catalog.typical_costs)
    if isinstance(found, ColdStartRouter):
        for name, neighbours in found.neighbours().items():
            _log.info("router %s does not know %s: forecast as %s", router.digest[:ID_LENGTH], name, neighbours)
    return found


def artifact_path(section: RouterConfig) -> Path:
    """Return the path of the router that serves while nothing is promoted. Raises ArtifactError."""
    return bundled() if section.artifact == "default" else Path(section.artifact)
