"""A pipeline over fakes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.billing.price import Price
from gateway.errors import ImageError
from gateway.pipeline.chat_request import ChatRequest
from gateway.pipeline.pipeline import Pipeline
from gateway.pipeline.record import RequestRecord
from gateway.pipeline.remote_images import RemoteImages
from gateway.pipeline.reservations import Reservations
from gateway.pipeline.state import RequestState
from gateway.routing.catalog import Candidate, Catalog
from gateway.routing.forecaster import Forecaster, ForecastLimits, RouterInService
from gateway.tenants.tenant import Tenant
from tests.fakes.clock import HandClock
from tests.fakes.encoder import FakeQueryEncoder
from tests.fakes.ledger import Answer, ScriptedLedger
from tests.fakes.observer import RecordingObserver
from tests.fakes.provider import ScriptedProvider, ScriptedReply, whole_reply
from tests.fakes.requests import a_request
from tests.fakes.router import FakeRouter, Fixed
from tests.fakes.sink import FakeSink
from tests.fakes.steering import FakeCourse, FakeSteering
from tests.gateway.billing.makers import candidate

MORNING = 1_767_268_800.0
CHEAP, DEAR = Price(1_000_000, 4_000_000), Price(10_000_000, 40_000_000)
"""Nanodollars a million tokens: one of input costs 1 or 10, one of output 4 or 40."""
FORECASTS = {"good": Fixed(0.9), "fair": Fixed(0.7), "poor": Fixed(0.2)}
PLAIN = (candidate("good", DEAR), candidate("fair", CHEAP), candidate("poor", CHEAP))
ACME = Tenant("acme", ("poor", "good", "fair"), 1.0, pacing=None)


class NoFetcher:
    """Implements `gateway.pipeline.remote_images.Fetcher`: no image can be had."""

    async def fetch(self, url: str, *, param: str | None = None) -> Any:
        raise ImageError(f"{url} is not to be had", param=param)


@dataclass
class House:
    """A pipeline over fakes. The time is `clock`, the date `MORNING`; `reported` holds what it could not tell a client.

    By forecast `good` comes first and is dear, then `fair`, then `poor`; the tenant's own order is another.
    """

    replies: Sequence[ScriptedReply] = (whole_reply(),)
    answers: Sequence[Answer] = ()
    candidates: tuple[Candidate, ...] = PLAIN
    pacing_view: FakeCourse | None = None
    encoder_fails: bool = False
    encode_s: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)
    clock: HandClock = field(default_factory=lambda: HandClock(100.0))

    def __post_init__(self) -> None:
        self.reported: list[str] = []
        self.observers = [RecordingObserver(), RecordingObserver()]
        self.ledger = ScriptedLedger(self.clock, self.answers)
        self.provider = ScriptedProvider(self.clock, self.replies)
        self.encoder = FakeQueryEncoder(self.clock, self.encode_s, fail=self.encoder_fails)
        router = FakeRouter(tuple(FORECASTS), FORECASTS)
        forecaster = Forecaster(self.encoder, RouterInService(router), ForecastLimits(60.0, 60.0), report=self.report)
        self.pipeline = Pipeline(
            catalog=Catalog(self.candidates),
            policies={"frugal": 0.25},
            forecaster=forecaster,
            reservations=Reservations(self.ledger, 60.0, self.report),
            controller=FakeSteering(self.pacing_view),  # type: ignore[arg-type]
            images=RemoteImages(NoFetcher()),
            observers=self.observers,
            report=self.report,
            clock=lambda: MORNING,
            timer=self.clock,
            **{"max_attempts": 3, "providers": {"p": self.provider, "q": self.provider}, **self.options},
        )

    def report(self, where: str, error: BaseException) -> None:
        self.reported.append(f"{where}: {error}")

    def turn(self, request: ChatRequest | None = None, tenant: Tenant = ACME) -> RequestState:
        """A request that came at 100 of the clock."""
        return RequestState("req_1", tenant, request or a_request(), self.clock(), MORNING, self.clock)

    def serve(
        self, request: ChatRequest | None = None, *, tenant: Tenant = ACME, sink: FakeSink | None = None
    ) -> tuple[FakeSink, RequestRecord]:
        """Serve one request to its end: what its client saw, and the one record that every observer has."""
        sink, state = sink or FakeSink(), self.turn(request, tenant)
        asyncio.run(self.pipeline.serve(state, sink))
        return sink, self.record

    @property
    def record(self) -> RequestRecord:
        first, second = (observer.record for observer in self.observers)
        assert first is second
        return first

    def forget(self) -> None:
        """Forget the records of requests that are over."""
        for observer in self.observers:
            observer.records.clear()
