"""The composition root: the only module, with the command line, that names concrete classes.

`build` wires a gateway from its settings. `/v1/chat/completions` and `/v1/route` are raw ASGI; FastAPI serves the rest.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.api.chat import ChatRoutes
from gateway.api.parse import ChatLimits
from gateway.api.rest import RestRoutes
from gateway.api.sink import Receive, Send
from gateway.candidates import candidate_of
from gateway.core.catalog import Catalog
from gateway.core.image_limits import ImageLimits
from gateway.core.key_hash import KeyHash
from gateway.core.money import NANODOLLARS
from gateway.core.tenant import Tenant, Tenants
from gateway.errors import ConfigError, LoupeError
from gateway.forecaster import Forecaster
from gateway.holds import Holds
from gateway.pipeline import Pipeline
from gateway.providers.base import Provider
from gateway.providers.images import FetchPolicy, ImageFetcher, LookUp, look_up
from gateway.providers.openai import Endpoint, OpenAIProvider
from gateway.remote_images import RemoteImages
from gateway.settings import EncoderSettings, ProviderSettings, Settings, TenantSettings, secret_from
from gateway.stores.base import BudgetStore, StoreError
from gateway.stores.leased import LeasedStore, LeaseOptions
from gateway.stores.redis import RedisOptions, RedisStore
from gateway.stores.sqlite import SqliteStore
from gateway.telemetry.estimates import watched_calibration
from gateway.telemetry.logs import RequestLog
from gateway.telemetry.metrics import Metrics
from models.base import EncodeError, Encoder
from models.cached import QueryEncoder
from models.dual import DualEncoder
from models.pulled import locate
from routers.artifact import ArtifactError
from routers.artifact import bundled as bundled_router
from routers.artifact import load as load_router
from routers.base import Router

MEBIBYTE = 1024 * 1024
_log = logging.getLogger("loupe")
STORE_ERRORS_EVERY_S = 60.0


class Gateway:
    """The ASGI application. Its state is made when the server starts it and closed when it stops."""

    def __init__(
        self,
        settings: Settings,
        *,
        encoder: Encoder | None = None,
        router: Router | None = None,
        look_up: LookUp = look_up,
    ) -> None:
        self._settings = settings
        self._catalog = Catalog(tuple(candidate_of(section, settings) for section in settings.candidates))
        self._tenants = _tenants(settings.tenants, [candidate.name for candidate in self._catalog])
        self._endpoints = {name: _endpoint(name, section) for name, section in settings.providers.items()}
        self._encoder = encoder
        self._router = router
        self._look_up = look_up
        self._metrics = Metrics()
        self._rest = RestRoutes(self._tenants, settings.policies, self._metrics)
        self._rest_app = self._rest.mount()
        self._chat: ChatRoutes | None = None
        self._store_errors_said: dict[str, float] = {}

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and self._chat is not None:
            if scope["path"] == "/v1/chat/completions":
                return await self._chat.completions(scope, receive, send)
            if scope["path"] == "/v1/route":
                return await self._chat.route(scope, receive, send)
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        await self._rest_app(scope, receive, send)
        return None

    async def _live(self, receive: Receive, send: Send) -> None:
        """ASGI's lifespan: what keeps the service from starting is said in one line."""
        await receive()
        try:
            async with self.running():
                gc.collect()
                gc.freeze()  # what starting made lives as long as the process: no collection need look at it
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except (LoupeError, StoreError, OSError) as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything that lives as long as the service does. Raises ConfigError, StoreError or OSError."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            encoder, router = self._load_networks()
            encode = _query_encoder(encoder, settings.encoder)
            stack.push_async_callback(encode.close)
            log = RequestLog(settings.log.path)
            log.open()
            stack.callback(log.close)
            outcomes = SqliteStore(settings.store.path, time.time)
            await outcomes.open()
            stack.push_async_callback(outcomes.close)
            store = await self._open_ledger(outcomes, stack)
            holds = Holds(store, settings.store.lease_s, self._report)
            stack.push_async_callback(holds.drain)
            stack.callback(asyncio.ensure_future(holds.renew_for_ever()).cancel)
            providers: dict[str, Provider] = {n: OpenAIProvider(e) for n, e in self._endpoints.items()}
            for provider in providers.values():
                stack.push_async_callback(provider.close)
            fetcher = ImageFetcher(_fetch_policy(settings), look_up=self._look_up)
            stack.push_async_callback(fetcher.close)
            calibration = watched_calibration((candidate.name for candidate in self._catalog), self._metrics)
            pipeline = Pipeline(
                catalog=self._catalog,
                policies=settings.policies,
                forecaster=self._forecaster(encode, router),
                providers=providers,
                holds=holds,
                images=RemoteImages(fetcher),
                observers=(self._metrics, log, outcomes, calibration),
                factors=calibration.factors,
                max_attempts=settings.max_attempts,
                report=self._report,
            )
            self._watch(encode, outcomes, log)
            self._rest.store = store
            self._chat = ChatRoutes(
                pipeline,
                self._tenants,
                ChatLimits(_image_limits(settings), settings.images.max_per_request),
                int(settings.server.max_body_mb * MEBIBYTE),
                self._metrics,
            )
            yield

    def _forecaster(self, encode: QueryEncoder, router: Router) -> Forecaster:
        return Forecaster(
            encode,
            router,
            encode_limit_s=self._settings.encoder.timeout_ms / 1e3,
            forecast_limit_s=self._settings.router.timeout_ms / 1e3,
            report=self._report,
        )

    async def _open_ledger(self, embedded: SqliteStore, stack: AsyncExitStack) -> BudgetStore:
        """Where budgets are kept. Raises ConfigError or StoreError."""
        section = self._settings.store
        if section.kind == "sqlite":
            return embedded
        options = RedisOptions(secret_from(section.redis_url_env), limit_s=section.redis_limit_ms / 1e3)
        store = RedisStore(options, time.time, _log.warning)
        await store.open()
        stack.push_async_callback(store.close)
        self._metrics.watch("loupe_unsettled", "Settlements that Redis has not confirmed", lambda: store.unsettled)
        if section.when_gone == "closed":
            return store
        lease = LeaseOptions(_nanodollars(section.local_lease_usd), uuid.uuid4().hex)
        leased = LeasedStore(store, time.time, lease, _log.warning)
        await leased.open()
        stack.push_async_callback(leased.close)
        self._metrics.watch(
            "loupe_local_leases_usd",
            "What this process sets aside of all budgets, to go on without the ledger",
            lambda: leased.set_aside / NANODOLLARS,
        )
        return leased

    def _load_networks(self) -> tuple[Encoder, Router]:
        """The encoder and the router trained for it. Raises ConfigError when they do not fit."""
        encoder = self._encoder or _encoder(self._settings.encoder.bundle)
        router = self._router or _router(self._settings.router.artifact)
        if router.encoder_digest != encoder.digest:
            raise ConfigError(
                f"the router was trained on the encoder {router.encoder_digest[:12]}, "
                f"and {encoder.name} is {encoder.digest[:12]}"
            )
        return encoder, router

    def _watch(self, encode: QueryEncoder, store: SqliteStore, log: RequestLog) -> None:
        watch = self._metrics.watch
        watch("loupe_encoder_cache_hits", "Texts and images found in the cache", lambda: encode.stats.hits)
        watch("loupe_encoder_cache_misses", "Texts and images that were encoded", lambda: encode.stats.misses)
        watch("loupe_encoder_batches", "Batches that the encoder ran", lambda: encode.stats.batches)
        watch("loupe_encoder_waiting", "Texts and images that wait to be encoded", lambda: encode.stats.waiting)
        watch("loupe_outcomes_lost", "Outcome rows lost to a full queue", lambda: store.outcomes_lost)
        watch("loupe_log_lines_lost", "Log lines lost to a full queue", lambda: log.lost)

    def _report(self, where: str, error: BaseException) -> None:
        """An error inside Loupe that must not fail a request: counted, and logged with its trace.

        An input that cannot be encoded is the client's doing: any number of them may come, so it is one line. A store
        that is out of order is so for every request: it is said now and then.
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


def build(settings: Settings) -> Gateway:
    """A gateway on these settings. Raises ConfigError for keys and secrets that are not there."""
    return Gateway(settings)


def _encoder(bundle: str) -> Encoder:
    try:
        return DualEncoder.load(locate(bundle), threads=1)  # each batch on one; the batcher runs several
    except EncodeError as error:
        raise ConfigError(f"encoder.bundle: {error}") from error


def _query_encoder(encoder: Encoder, section: EncoderSettings) -> QueryEncoder:
    return QueryEncoder(
        encoder, cache_entries=section.cache_entries, max_batch=section.max_batch, threads=section.threads
    )


def _router(name: str) -> Router:
    path = bundled_router() if name == "default" else Path(name)
    try:
        return load_router(path)
    except (ArtifactError, OSError) as error:
        raise ConfigError(f"router.artifact: {error}") from error


def _tenants(sections: tuple[TenantSettings, ...], catalog: list[str]) -> Tenants:
    key_hash = KeyHash(secrets.token_bytes(32))
    by_key: dict[bytes, Tenant] = {}
    for section in sections:
        budgets = (*((section.budget,) if section.budget else ()), *section.budgets)
        for key in section.keys:
            known = key.hash()
            hashed = key_hash.over(bytes.fromhex(known))
            if hashed in by_key:
                raise ConfigError(f"tenant {section.name}: one of its keys stands twice, here or at another tenant")
            by_key[hashed] = Tenant(
                name=section.name,
                candidates=key.candidates or section.candidates or tuple(catalog),
                quality_weight=section.quality_weight,
                on_infeasible=section.on_infeasible,
                budgets=tuple(budget.budget() for budget in budgets),
                key=key.name or known[:12],
                key_budgets=tuple(budget.budget() for budget in key.budgets),
                expires_at=key.expires.timestamp() if key.expires else None,
            )
    return Tenants(key_hash, by_key)


def _endpoint(name: str, section: ProviderSettings) -> Endpoint:
    return Endpoint(
        name=name,
        base_url=section.base_url,
        api_key=secret_from(section.api_key_env) if section.api_key_env else None,
        headers=tuple(section.headers.items()),
        connect_s=section.connect_s,
        first_byte_s=section.first_byte_s,
        idle_s=section.idle_s,
        total_s=section.total_s,
        max_connections=section.max_connections,
    )


def _fetch_policy(settings: Settings) -> FetchPolicy:
    images = settings.images
    return FetchPolicy(
        schemes=images.schemes,
        allow_hosts=frozenset(images.allow_hosts),
        max_bytes=int(images.max_mb * MEBIBYTE),
        max_pixels=images.max_pixels,
        total_timeout_s=images.timeout_s,
    )


def _image_limits(settings: Settings) -> ImageLimits:
    return ImageLimits(int(settings.images.max_mb * MEBIBYTE), settings.images.max_pixels)


def _nanodollars(usd: float) -> int:
    return round(usd * NANODOLLARS)
