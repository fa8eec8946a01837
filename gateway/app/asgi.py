"""The composition root: besides the command line, the only module that names concrete classes.

`build` wires a gateway from its settings. `/v1/chat/completions` and `/v1/route` are raw ASGI; FastAPI serves the rest.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from gateway import stores
from gateway.api import RAW_ROUTES, application
from gateway.api.asgi import Receive, Send
from gateway.api.services import AdminState, ApiServices
from gateway.app.generation import ConfigGeneration, ConfigGenerations, SharedServices
from gateway.app.reload import Reloader
from gateway.app.router_watch import RouterWatch, live_router, watch_router, widened_for
from gateway.app.services import (
    MetricWatches,
    PacingContext,
    RecordServices,
    begin_pacing,
    begin_tenants,
    open_tenant_store,
    watch_parts,
    watch_requests,
)
from gateway.billing.store import BudgetStore
from gateway.config.checked import CheckedConfig
from gateway.config.settings import EncoderConfig, Settings
from gateway.config.tenants import declared_in
from gateway.errors import ConfigError, LoupeError, StoreError
from gateway.images.fetch import LookUp, look_up
from gateway.outcomes.comparison import LabelledRows
from gateway.outcomes.log.labelled import LabelledLog
from gateway.outcomes.log.schema import decisions_path
from gateway.pipeline.observer import Observer
from gateway.pipeline.reservations import Reservations
from gateway.routing.catalog import Catalog
from gateway.routing.forecaster import Forecaster, ForecastLimits
from gateway.stores.base import StoreSurroundings
from gateway.telemetry.gauges import watched_calibration
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.multiprocess import SharedMetrics, WorkerPlace
from gateway.telemetry.request_log import RequestLog
from gateway.tenants.key_hash import KeyHash
from models.base import EncodeError, Encoder
from models.cache import QueryEncoder
from models.dual_encoder import DualEncoder
from models.registry import locate
from routers.base import Router

_log = logging.getLogger("loupe")
STORE_ERRORS_EVERY_S = 60.0


class Gateway:
    """The ASGI application. Its state is created when the server starts it and closed when the server stops it."""

    def __init__(
        self,
        settings: Settings,
        *,
        encoder: Encoder | None = None,
        router: Router | None = None,
        look_up: LookUp = look_up,
        config: Path | None = None,
        processes: int | None = None,
        clock: Callable[[], float] = time.time,
        place: WorkerPlace | None = None,
        labelled_rows: LabelledRows | None = None,
    ) -> None:
        """Prepare a gateway, one of `processes` that serve the same budgets (default: `server.workers`).

        `clock` gives seconds since the epoch, for budgets, pacing and outcomes.
        """
        self._settings = settings
        self._config = config
        self._processes = settings.server.workers if processes is None else processes
        self._clock = clock
        self._plan = CheckedConfig.of(settings)
        declared_in(settings, KeyHash(secrets.token_bytes(32)), config)  # checks that its keys are set, each only once
        self._encoder = encoder
        self._router = router
        self._look_up = look_up
        self._place = place
        self._labelled_rows = labelled_rows or LabelledLog(decisions_path(settings.store.path))
        self.metrics = self._metrics = Metrics()
        self._shared = SharedMetrics(self._metrics, place, report=self._report)
        self._records = RecordServices(settings, self._metrics)
        variable = settings.server.admin_key_env
        self._services = ApiServices(settings.policies, self._shared.scrape, os.environ.get(variable), variable)
        self._rest_app = application(self._services)
        self._generation: ConfigGeneration | None = None
        self._store_errors_said: dict[str, float] = {}

    @property
    def shutdown_s(self) -> float:
        return self._settings.server.shutdown_s

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and self._generation is not None:
            route = RAW_ROUTES.get(scope["path"])
            if route is not None:
                return await self._generation.serve(route, scope, receive, send)
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        await self._rest_app(scope, receive, send)
        return None

    async def _live(self, receive: Receive, send: Send) -> None:
        """Run ASGI's lifespan; report in one line what keeps the service from starting, whatever it is."""
        await receive()
        phase = "startup"
        try:
            async with self.running():
                gc.collect()
                gc.freeze()  # start-up objects live as long as the process: collections can skip them
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
        except Exception as error:
            if not isinstance(error, LoupeError | StoreError | OSError):
                _log.debug("%s", phase, exc_info=error)  # one line for the operator, the trace for who looks for it
            await send({"type": f"lifespan.{phase}.failed", "message": reason_of(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run everything that lives as long as the service. Raises ConfigError, StoreError or OSError."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            encoder = self._encoder or _encoder(settings.encoder.bundle)
            router = live_router(settings.router, encoder, self._router)
            router.open()
            stack.callback(router.close)
            encode = _query_encoder(encoder, settings.encoder)
            stack.push_async_callback(encode.close)
            log = RequestLog(settings.log.path)
            log.open()
            stack.callback(log.close)
            decisions = self._records.open(encode, stack)
            store = await self._open_ledger(stack)
            reservations = Reservations(store, settings.store.reservation_ttl_s, self._report)
            stack.push_async_callback(reservations.drain)
            unsettled = "Settlements that the store has not taken yet"
            self._metrics.watch("loupe_unsettled", unsettled, lambda: reservations.unsettled)
            stack.callback(asyncio.ensure_future(reservations.renew_for_ever()).cancel)
            around = PacingContext(settings, self._metrics, self._clock, self._report, self._processes)
            pacing_services = begin_pacing(store, around, stack)
            calibration = watched_calibration(self._plan.candidates, self._metrics)
            tenant_store = open_tenant_store(settings)
            stack.callback(tenant_store.close)
            tenant_services = begin_tenants(tenant_store, settings, self._report)
            observers: tuple[Observer, ...] = (self._metrics, log, calibration, pacing_services.spend, *decisions)
            self._records.serve(self._services, observers, stack)
            shared = SharedServices(
                forecaster_for=lambda catalog: self._forecaster(encode, router, catalog),
                reservations=reservations,
                tenants=tenant_services.tenants,
                metrics=self._metrics,
                observers=observers,
                factors=calibration.factors,
                report=self._report,
                look_up=self._look_up,
                encoder_digest=encode.digest,
                controller=pacing_services.controller,
                clock=self._clock,
            )
            watch_parts(self._metrics, encode, log)
            self._services.reports, self._services.tenants = pacing_services.reports, tenant_services.tenants
            generations = ConfigGenerations(shared)
            stack.push_async_callback(generations.close)
            watch_requests(self._metrics, generations)
            watch_router(router, self._metrics)

            def taken(generation: ConfigGeneration) -> None:
                calibration.follow(generation.plan.candidates)
                pacing_services.controller.follow(generation.plan.catalog, calibration.factors)
                self._services.policies = generation.plan.settings.policies
                self._services.resting = generation.resting
                self._generation = generation

            reloads = Reloader(self._config, generations, tenant_services, taken=taken)
            await reloads.begin(self._plan)
            tenant_services.live.open(reloads.hear)
            stack.callback(tenant_services.live.close)
            stack.push_async_callback(reloads.close)

            def hung_up() -> None:
                log.reopen()
                reloads.ask()

            _on_hang_up(hung_up, stack)
            management, delete = tenant_services.management, self._records.delete_content
            self._services.admin = AdminState(
                management, tenant_services.live.refresh, pacing_services.reports, reloads.reload, delete
            )
            measures = MetricWatches(
                self._metrics, self._shared, store, tenant_services.live, self._labelled_rows, self._report
            )
            await measures.open(stack, first=self._place is None or self._place.number == 0)
            yield

    def _forecaster(self, encode: QueryEncoder, router: RouterWatch, catalog: Catalog) -> Forecaster:
        settings = self._settings
        limits = ForecastLimits(settings.encoder.timeout_ms / 1e3, settings.router.timeout_ms / 1e3)
        return Forecaster(
            encode,
            router.in_service,
            limits,
            report=self._report,
            widen=lambda known: widened_for(known, catalog),
            staged=self._metrics.staged,
        )

    async def _open_ledger(self, stack: AsyncExitStack) -> BudgetStore:
        """Open the store of the budgets. Raises ConfigError or StoreError."""
        section = self._settings.store
        around = StoreSurroundings(self._clock, self._metrics.watch, _log.warning, stack)
        return await stores.KINDS[section.kind].open_budgets(section.address, around)

    def _report(self, where: str, error: BaseException) -> None:
        """Count and log an error inside Loupe that must not fail a request, with its trace.

        An input that cannot be encoded is the client's fault and may come any number of times, so it is one line. An
        unavailable store fails on every request, so it is logged only once per STORE_ERRORS_EVERY_S.
        """
        self._metrics.internal_error(where)
        if isinstance(error, StoreError):
            now = time.monotonic()
            if now - self._store_errors_said.get(where, -STORE_ERRORS_EVERY_S) >= STORE_ERRORS_EVERY_S:
                self._store_errors_said[where] = now
                _log.warning("%s: %s", where, error)
            return
        if isinstance(error, EncodeError):
            _log.warning("%s: %s", where, error)
            return
        _log.error("%s: %s", where, type(error).__name__, exc_info=error)


def reason_of(error: BaseException) -> str:
    """Return in one line why a start failed: an error of ours in its own words, any other with its type and place."""
    text = " ".join(str(error).split())
    if isinstance(error, LoupeError | StoreError | OSError) and text:
        return str(error)  # a configuration's faults have a line each
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})"
    return f"{type(error).__name__}: {text}{place}"


def build(
    settings: Settings, config: Path | None = None, processes: int | None = None, place: WorkerPlace | None = None
) -> Gateway:
    """Return a gateway on these settings, which it reads from `config` again at a reload.

    It is one of `processes` processes, and `place` is its own place among them. Raises ConfigError for missing keys and
    secrets.
    """
    return Gateway(settings, config=config, processes=processes, place=place)


def _on_hang_up(act: Callable[[], None], stack: AsyncExitStack) -> None:
    """Call `act` on SIGHUP. Does nothing outside the main thread, because only the main thread receives signals."""
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGHUP"):
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, act)
        stack.callback(loop.remove_signal_handler, signal.SIGHUP)


def _encoder(bundle: str) -> Encoder:
    try:
        return DualEncoder.load(locate(bundle), threads=1)  # one thread per batch; the batcher runs several batches
    except EncodeError as error:
        raise ConfigError(f"encoder.bundle: {error}") from error


def _query_encoder(encoder: Encoder, section: EncoderConfig) -> QueryEncoder:
    return QueryEncoder(
        encoder, cache_entries=section.cache_entries, max_batch=section.max_batch, threads=section.threads
    )
