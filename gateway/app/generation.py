"""A config generation: everything that follows from the configuration and may be swapped while the service runs.

Part of the composition root. A request ends with the generation that it began with. What only that generation used is
closed when its last request has ended.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.api import RawRoute
from gateway.api.asgi import Receive, Send
from gateway.api.chat import ChatRoutes
from gateway.api.parse.chat import ChatLimits
from gateway.config.checked import MEBIBYTE, CheckedConfig
from gateway.images.data_url import ImageLimits
from gateway.images.fetch import ImageFetcher, LookUp
from gateway.pipeline.observer import Observer
from gateway.pipeline.pipeline import Pipeline
from gateway.pipeline.record import Versions
from gateway.pipeline.remote_images import RemoteImages
from gateway.pipeline.reservations import Reservations
from gateway.providers import provider_at
from gateway.providers.base import Provider
from gateway.routing.catalog import Catalog
from gateway.routing.forecaster import Forecaster
from gateway.routing.pacing.controller import PacingController
from gateway.telemetry.metrics import Metrics
from gateway.tenants.tenant import Tenants


@dataclass(frozen=True, slots=True)
class SharedServices:
    """The services that stay the same from one config generation to the next."""

    forecaster_for: Callable[[Catalog], Forecaster]
    reservations: Reservations
    tenants: Tenants
    metrics: Metrics
    observers: Sequence[Observer]
    factors: Mapping[str, float]
    report: Callable[[str, BaseException], None]
    look_up: LookUp
    encoder_digest: str
    controller: PacingController
    clock: Callable[[], float] = time.time


class ConfigGeneration:
    """A config generation, made by `ConfigGenerations`. `users` counts its requests in progress."""

    def __init__(
        self, plan: CheckedConfig, providers: Mapping[str, Provider], fetcher: ImageFetcher, chat: ChatRoutes
    ) -> None:
        self.plan = plan
        self.providers = providers
        self.fetcher = fetcher
        self.users = 0
        self.ended: Callable[[ConfigGeneration], None] | None = None
        """Set when another generation has taken its place; called when its last request has ended."""
        self._chat = chat
        self.resting = chat.resting

    async def serve(self, route: RawRoute, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request completely with this configuration."""
        self.users += 1
        try:
            await route(self._chat, scope, receive, send)
        finally:
            self.users -= 1
            if not self.users and self.ended is not None:
                self.ended(self)


class ConfigGenerations:
    """The config generation in service and the earlier ones that still have requests. Create it
    inside a running loop.
    """

    def __init__(self, shared: SharedServices) -> None:
        self._shared = shared
        self._live: list[ConfigGeneration] = []
        """Oldest first; the last one is in service."""
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        """The number of generations that have requests or are in service."""
        return len(self._live)

    @property
    def users(self) -> int:
        """The number of requests in progress."""
        return sum(generation.users for generation in self._live)

    def prepare(self, plan: CheckedConfig) -> ConfigGeneration:
        """Return the next generation, not yet in service: `swap` puts it in service, or `discard` closes it.

        It shares the unchanged parts with the generation in service. Raises ConfigError for a URL or a header that
        cannot be sent.
        """
        before = self._live[-1] if self._live else None
        providers: dict[str, Provider] = {}
        for name, endpoint in plan.endpoints.items():
            same = before is not None and before.plan.endpoints.get(name) == endpoint
            providers[name] = before.providers[name] if before and same else provider_at(endpoint)
        if before is not None and before.plan.fetch_policy == plan.fetch_policy:
            fetcher = before.fetcher
        else:
            fetcher = ImageFetcher(plan.fetch_policy, look_up=self._shared.look_up)
        return ConfigGeneration(plan, providers, fetcher, self._chat(plan, providers, fetcher))

    def swap(self, generation: ConfigGeneration) -> None:
        """Serve all requests from now on by this generation."""
        before = self._live[-1] if self._live else None
        self._live.append(generation)
        if before is not None:
            before.ended = self._retire
            if not before.users:
                self._retire(before)

    def discard(self, generation: ConfigGeneration) -> None:
        """Close what was opened for a generation that will not serve."""
        self._close_unused(generation)

    async def close(self) -> None:
        """Close everything; exchanges in progress may still finish."""
        while self._live:
            self._retire(self._live[-1])
        await asyncio.gather(*self._closing)

    def _retire(self, generation: ConfigGeneration) -> None:
        self._live.remove(generation)
        self._close_unused(generation)

    def _close_unused(self, generation: ConfigGeneration) -> None:
        used = {id(provider) for live in self._live for provider in live.providers.values()}
        unused: list[Provider | ImageFetcher] = [p for p in generation.providers.values() if id(p) not in used]
        if all(live.fetcher is not generation.fetcher for live in self._live):
            unused.append(generation.fetcher)
        for each in unused:
            task = asyncio.ensure_future(each.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _chat(self, plan: CheckedConfig, providers: Mapping[str, Provider], fetcher: ImageFetcher) -> ChatRoutes:
        shared, settings = self._shared, plan.settings
        pipeline = Pipeline(
            catalog=plan.catalog,
            policies=settings.policies,
            forecaster=shared.forecaster_for(plan.catalog),
            providers=providers,
            secrets={name: endpoint.secrets for name, endpoint in plan.endpoints.items()},
            reservations=shared.reservations,
            controller=shared.controller,
            images=RemoteImages(fetcher),
            observers=shared.observers,
            factors=shared.factors,
            max_attempts=settings.max_attempts,
            report=shared.report,
            versions=_versions(plan, shared.encoder_digest),
            keeps_replies=settings.content.keep,
            clock=shared.clock,
        )
        limits = ImageLimits(int(settings.images.max_mb * MEBIBYTE), settings.images.max_pixels)
        return ChatRoutes(
            pipeline,
            shared.tenants,
            ChatLimits(limits, settings.images.max_per_request),
            int(settings.server.max_body_mb * MEBIBYTE),
            shared.metrics,
            shared.clock,
        )


def _versions(plan: CheckedConfig, encoder_digest: str) -> Versions:
    prices = sorted((candidate.name, repr(candidate.price), candidate.prices) for candidate in plan.catalog)
    return Versions(
        encoder=encoder_digest,
        prices=hashlib.sha256(repr(prices).encode()).hexdigest(),
        configuration=hashlib.sha256(plan.settings.model_dump_json().encode()).hexdigest(),
    )
