"""Editions: requests end with the one they began with; what a past one alone used is closed after its last request."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.api.chat import ChatRoutes
from gateway.app.generation import ConfigGeneration, ConfigGenerations, SharedServices
from gateway.config.checked import CheckedConfig
from gateway.config.settings import Settings
from gateway.errors import ConfigError, ProviderError
from gateway.images.fetch import look_up
from gateway.pipeline.reservations import Reservations
from gateway.routing.forecaster import Forecaster, ForecastLimits, RouterInService
from gateway.routing.pacing.controller import PacingController
from gateway.stores.memory import MemoryStore
from gateway.telemetry.metrics import Metrics
from gateway.tenants.key_hash import KeyHash
from gateway.tenants.tenant import Tenant, Tenants
from models.cache import QueryEncoder
from tests.fakes.encoder import FakeEncoder
from tests.fakes.paces import NothingKept
from tests.fakes.router import FakeRouter
from tests.gateway.config.test_settings import GOOD

KEY_HASH = KeyHash(b"a secret of this server")
CLOSED = "connections are being closed"


def plan_of(**providers: str) -> CheckedConfig:
    """A plan whose providers are at these addresses; `pool` serves the candidates."""
    raw: dict[str, Any] = copy.deepcopy(GOOD)
    raw["providers"] = {name: {"base_url": url} for name, url in {"pool": "http://127.0.0.1:9/v1", **providers}.items()}
    return CheckedConfig.of(Settings.model_validate(raw))


def generations() -> ConfigGenerations:
    def report(where: str, error: BaseException) -> None:
        raise AssertionError(where) from error

    encoder = FakeEncoder()
    forecaster = Forecaster(
        QueryEncoder(encoder, cache_entries=8, max_batch=1, threads=1),
        RouterInService(FakeRouter(("small",), {}, encoder_digest=encoder.digest)),
        ForecastLimits(encode_s=1, forecast_s=1),
        report=report,
    )
    store = MemoryStore(lambda: 0.0)
    reservations = Reservations(store, 60, report)
    return ConfigGenerations(
        SharedServices(
            forecaster_for=lambda catalog: forecaster,
            reservations=reservations,
            tenants=Tenants(KEY_HASH, {KEY_HASH.of(b"sk-one"): Tenant("acme", ("small",), 0.8)}),
            metrics=Metrics(),
            observers=(),
            factors={},
            report=report,
            look_up=look_up,
            encoder_digest=encoder.digest,
            controller=PacingController(store, NothingKept(), clock=lambda: 0.0, report=report),
        )
    )


async def why(generation: ConfigGeneration, provider: str) -> str:
    """Why nothing can be sent there: no server listens, or it is closed."""
    with pytest.raises(ProviderError) as error:
        await generation.providers[provider].send(b"{}", "req")
    return str(error.value)


def test_what_has_not_changed_is_shared() -> None:
    async def run() -> None:
        found = generations()
        first = found.prepare(plan_of(other="http://127.0.0.1:9/one"))
        found.swap(first)
        second = found.prepare(plan_of(other="http://127.0.0.1:9/two"))
        assert second.providers["pool"] is first.providers["pool"]
        assert second.providers["other"] is not first.providers["other"]
        assert second.fetcher is first.fetcher
        found.swap(second)
        await asyncio.sleep(0)
        assert CLOSED in await why(first, "other")
        assert CLOSED not in await why(second, "pool")
        await found.close()
        assert CLOSED in await why(second, "pool")

    asyncio.run(run())


def test_a_past_edition_is_closed_when_its_last_request_ends() -> None:
    async def run() -> None:
        found = generations()
        first = found.prepare(plan_of(gone="http://127.0.0.1:9/one"))
        found.swap(first)
        under_way = [request(first), request(first)]
        await asyncio.sleep(0)
        found.swap(found.prepare(plan_of()))
        assert found.count == 2
        await under_way[0].end()
        assert CLOSED not in await why(first, "gone")
        await under_way[1].end()
        assert found.count == 1
        assert CLOSED in await why(first, "gone")
        await found.close()

    asyncio.run(run())


def test_an_edition_that_will_not_serve_leaves_what_is_shared_open() -> None:
    async def run() -> None:
        found = generations()
        first = found.prepare(plan_of())
        found.swap(first)
        second = found.prepare(plan_of(new="http://127.0.0.1:9/new"))
        found.discard(second)
        await asyncio.sleep(0)
        assert CLOSED in await why(second, "new")
        assert CLOSED not in await why(first, "pool")
        await found.close()

    asyncio.run(run())


def test_an_address_that_can_not_be_used_is_no_edition() -> None:
    async def run() -> None:
        found = generations()
        with pytest.raises(ConfigError, match=r"providers\.bad\.base_url"):
            found.prepare(plan_of(bad="http://127.0.0.1:9/with space"))
        assert found.count == 0

    asyncio.run(run())


@dataclass
class UnderWay:
    done: asyncio.Future[None]
    task: asyncio.Future[None]

    async def end(self) -> None:
        self.done.set_result(None)
        await self.task
        await asyncio.sleep(0)


def request(generation: ConfigGeneration) -> UnderWay:
    """A request under way in the edition until it is ended: its body does not come sooner."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def receive() -> dict[str, Any]:
        await done
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    scope = {"headers": [(b"authorization", b"Bearer sk-one")]}
    return UnderWay(done, asyncio.ensure_future(generation.serve(ChatRoutes.completions, scope, receive, send)))
