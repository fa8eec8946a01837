"""A tenant whose day passes as fast as its requests can be sent: the gateway goes by a clock that the test sets."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gateway.config.secrets import hash_key
from models.base import Views
from routers.base import Forecast
from tests.e2e.harness.scripted_provider import ScriptedProvider
from tests.e2e.harness.scripts import USAGE
from tests.e2e.harness.site import KEY, PRICES, Answer, Site, charge, serving_gateway, settings_for
from tests.fakes.encoder import FakeEncoder

MIDNIGHT = 1_767_571_200.0
"""2026-01-05 00:00 UTC, a Monday."""
HOUR_S, DAY_S = 3_600.0, 86_400.0
BEST_COST = charge("large", *USAGE)
"""Nanodollars that a request costs at the best candidate."""


@dataclass
class Clock:
    now: float = MIDNIGHT

    def __call__(self) -> float:
        return self.now


class VariedRouter:
    """Some queries are hard, and only the dear candidate answers them; how hard one is its text says."""

    candidates = tuple(PRICES)
    digest = "varied-router"
    view_dims: Mapping[str, int] = {"text": 384}

    def __init__(self, encoder_digest: str) -> None:
        self.encoder_digest = encoder_digest

    def forecast(self, views: Views) -> Forecast:
        hard = np.clip(0.5 + 5 * views["text"][:, 0].astype(np.float64), 0.02, 0.98)
        quality = np.stack([0.95 - 0.1 * hard, 0.9 - 0.4 * hard, 0.85 - 0.7 * hard], axis=1)
        tokens = np.full_like(quality, 10.0)
        return Forecast(quality, np.full_like(quality, 0.05), tokens, tokens * 1.5)


@dataclass
class PacedSite:
    """`sites` are the processes that share one store; requests are dealt to them in turn."""

    sites: Sequence[Site]
    clock: Clock
    connections: list[http.client.HTTPConnection]
    answers: list[tuple[float, Answer]] = field(default_factory=list)

    @property
    def site(self) -> Site:
        return self.sites[0]

    def ask(self, text: str = "", **headers: str) -> Answer:
        """One request at the time that it is, on a connection that stays."""
        number = len(self.answers)
        connection = self.connections[number % len(self.connections)]
        message = {"role": "user", "content": text or f"question {number % 211}"}
        body = json.dumps({"model": "auto", "messages": [message], "max_tokens": 20})
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {KEY}", **named})
        reply = connection.getresponse()
        answer = Answer(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
        self.answers.append((self.clock.now, answer))
        if number < len(self.sites):  # what it learned before is read, and the ledger, however busy the machine
            self.sites[number].call("GET", "/v1/usage")
        return answer

    def serve(self, seconds: float, every: float) -> None:
        """A request every so many seconds, until so many have passed."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.ask()
            self.clock.now += every

    def window(self, place: int = 0) -> dict[str, Any]:
        """A window of /v1/usage, as the first process sees it."""
        found = self.site.call("GET", "/v1/usage").json["windows"][place]
        assert isinstance(found, dict)
        return found

    def share_of(self, candidate: str, since: float, until: float) -> float:
        """Of the requests that were answered between these times."""
        served = [a.headers.get("x-route-candidate") for at, a in self.answers if since <= at < until]
        return served.count(candidate) / len(served)


def tenant(*budgets: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "acme", "keys": [{"sha256": hash_key(KEY), "name": "k"}], "budgets": list(budgets), **more}


@contextmanager
def paced_site(
    folder: Path,
    provider: ScriptedProvider,
    *tenants: dict[str, Any],
    clock: Clock | None = None,
    processes: int = 1,
    config: Path | None = None,
    **changes: Any,
) -> Iterator[PacedSite]:
    """So many processes on one store, each with pacing of its own."""
    clock = clock or Clock()
    raw = {**settings_for(folder, provider.url), "tenants": list(tenants), **changes}
    raw["store"] = {**raw["store"], "reservation_ttl_s": 3_600}
    with ExitStack() as stack:
        sites: list[Site] = []
        for _ in range(processes):
            encoder = FakeEncoder()
            sites.append(
                stack.enter_context(
                    serving_gateway(
                        raw,
                        folder,
                        encoder=encoder,
                        router=VariedRouter(encoder.digest),
                        processes=processes,
                        clock=clock,
                        config=config,
                    )
                )
            )
        connections = [http.client.HTTPConnection(site.host, site.port, timeout=120) for site in sites]
        for connection in connections:
            stack.callback(connection.close)
        yield PacedSite(sites, clock, connections)
        for site in sites:
            site.assert_no_trace()
