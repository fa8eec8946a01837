"""A decision is asked for again while it may be on its way into the log, and only then."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.requests import Request

from gateway.api.decisions import WRITTEN_WITHIN_S, DecisionRoutes
from gateway.api.services import ApiServices
from gateway.errors import NotFoundError
from gateway.outcomes.label import Label, LabelResult
from gateway.tenants.key_hash import KeyHash
from gateway.tenants.tenant import Tenant, Tenants

KEY_HASH = KeyHash(b"a secret of this server")
TENANTS = Tenants(KEY_HASH, {KEY_HASH.of(b"sk-good"): Tenant("acme", ("a",), 0.8)})
ASKING = Request({"type": "http", "headers": [(b"authorization", b"Bearer sk-good")]})


class LateLog:
    """Implements `Decisions`. Has a decision when it is asked for the `has_at`-th time, and counts."""

    def __init__(self, has_at: int) -> None:
        self.has_at, self.asked = has_at, 0

    async def shown(self, tenant: str, request_id: str) -> Mapping[str, Any] | None:
        self.asked += 1
        return {"id": request_id} if self.asked >= self.has_at else None

    async def label(self, tenant: str, label: Label) -> LabelResult | None:
        raise AssertionError("nothing is labelled here")


async def no_metrics() -> bytes:
    return b""


def shown(log: LateLog, request_id: str, *monotonic: float) -> Mapping[str, Any]:
    """What is answered while the clock shows these seconds, one after the other, then the last for ever."""
    seconds = itertools.chain(monotonic, itertools.repeat(monotonic[-1] if monotonic else 0.0))
    services = ApiServices({}, no_metrics, None, "LOUPE_ADMIN_KEY", tenants=TENANTS, decisions=log)
    routes = DecisionRoutes(services, seconds.__next__)
    return asyncio.run(routes.decision(ASKING, request_id))


def id_of_age(seconds: float) -> str:
    return f"req_{int((time.time() - seconds) * 1e6):014x}{7:010x}"


@pytest.mark.parametrize("request_id", ["req_1", "nonsense", "\0", "a" * 500])
def test_an_id_that_is_none_is_asked_for_once(request_id: str) -> None:
    log = LateLog(has_at=2)
    with pytest.raises(NotFoundError):
        shown(log, request_id)
    assert log.asked == 1


def test_an_id_of_an_hour_ago_is_asked_for_once() -> None:
    log = LateLog(has_at=2)
    with pytest.raises(NotFoundError):
        shown(log, id_of_age(3_600))
    assert log.asked == 1


def test_an_id_beyond_ascii_is_not_even_asked_for() -> None:
    log = LateLog(has_at=1)
    with pytest.raises(NotFoundError):
        shown(log, "req_\U0001f388")
    assert log.asked == 0


def test_an_id_of_just_now_is_asked_for_until_it_is_there() -> None:
    log = LateLog(has_at=3)
    request_id = id_of_age(1.0)
    assert shown(log, request_id) == {"id": request_id}
    assert log.asked == 3


def test_an_id_of_just_now_is_given_up_when_it_should_have_been_written() -> None:
    log = LateLog(has_at=4)
    with pytest.raises(NotFoundError):
        shown(log, id_of_age(1.0), 50.0, 50.5, 50.0 + WRITTEN_WITHIN_S)
    assert log.asked == 2
