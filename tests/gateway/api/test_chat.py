"""The route of chat completions: what a request is timed from, and what is refused before there is one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from gateway.api.chat import ChatRoutes
from gateway.errors import RequestError
from gateway.tenants.key_hash import KeyHash
from gateway.tenants.tenant import Tenants
from tests.fakes.clock import HandClock
from tests.fakes.provider import whole_reply

from ..pipeline.house import ACME, MORNING, House
from .bodies import LIMITS, user

KEY_HASH = KeyHash(b"a secret of this server")
BODY = json.dumps({"model": "auto", "messages": [user("hi")]}).encode()


class Ticking(HandClock):
    """A clock that moves on by a second each time it is read."""

    def __call__(self) -> float:
        self.turn(1.0)
        return self.now


class Route:
    """The route over a pipeline of fakes: a client whose body takes `body_s` to come."""

    def __init__(self, clock: HandClock, body_s: float) -> None:
        self.house = House([whole_reply(first_s=2.0)], clock=clock)
        self.refused: list[RequestError] = []
        self.sent: list[dict[str, Any]] = []
        self._body_s = body_s
        tenants = Tenants(KEY_HASH, {KEY_HASH.of(b"sk-one"): ACME})
        self._routes = ChatRoutes(self.house.pipeline, tenants, LIMITS, 1_000, self, lambda: MORNING, clock)

    def refused_early(self, error: RequestError) -> None:
        self.refused.append(error)

    def post(self, body: bytes = BODY, key: bytes = b"sk-one") -> int:
        """The status of the answer."""
        asyncio.run(self._post(body, key))
        return int(self.sent[0]["status"])

    async def _post(self, body: bytes, key: bytes) -> None:
        messages = [{"type": "http.request", "body": body}]

        async def receive() -> dict[str, Any]:
            if not messages:
                await asyncio.Event().wait()
            self.house.clock.turn(self._body_s)
            return messages.pop()

        async def send(message: dict[str, Any]) -> None:
            self.sent.append(message)

        await self._routes.completions({"headers": [(b"authorization", b"Bearer " + key)]}, receive, send)


def test_a_request_is_timed_from_its_first_byte_in() -> None:
    """By hand: 8 seconds until its body is there, 2 until the reply's first byte; parsing takes none by this clock."""
    route = Route(HandClock(100.0), body_s=8.0)
    assert route.post() == 200
    record = route.house.record
    assert (record.started_at, record.parse_s, record.first_byte_s) == (MORNING, 0.0, 10.0)
    assert (record.total_s, record.overhead_s) == (10.0, 8.0)


def test_parsing_is_timed_from_when_the_body_is_there() -> None:
    route = Route(Ticking(100.0), body_s=8.0)
    assert route.post() == 200
    assert route.house.record.parse_s == 1.0


def test_what_is_refused_before_it_is_a_request_is_told_and_leaves_no_record() -> None:
    for body, key, status in ((BODY, b"sk-two", 401), (b"{", b"sk-one", 400), (b" " * 1_001, b"sk-one", 413)):
        route = Route(HandClock(), body_s=0.0)
        assert route.post(body, key) == status
        assert [error.status for error in route.refused] == [status]
        assert [observer.records for observer in route.house.observers] == [[], []]
