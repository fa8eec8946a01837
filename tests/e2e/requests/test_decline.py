"""Routing is an optimisation: when the encoder or the router fails or is slow, the tenant's default order serves."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.config.secrets import hash_key
from models.base import EncodeError, Views
from routers.base import Forecast
from tests.e2e.harness.pictures import data_url, picture
from tests.e2e.harness.scripted_provider import ScriptedProvider
from tests.e2e.harness.scripts import refuse
from tests.e2e.harness.site import FORECASTS, KEY, Site, serving_gateway, settings_for
from tests.fakes.encoder import FakeEncoder
from tests.fakes.router import FakeRouter

ORDER = ("middle", "small", "large")
CERTAIN_MS = 60_000
"""A limit that what answers keeps on any machine."""
SHORT_MS = 150
"""A limit that what is held exceeds."""


class RudeEncoder(FakeEncoder):
    """Breaks with what no encoder should raise."""

    def encode_texts(self, texts: Sequence[str]) -> Views:
        raise MemoryError("no memory")


class HeldEncoder(FakeEncoder):
    """Encodes only when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def encode_texts(self, texts: Sequence[str]) -> Views:
        assert self.let_go.wait(120)
        return super().encode_texts(texts)


class HeldRouter(FakeRouter):
    """Forecasts only when it is let go."""

    def __init__(self, encoder: FakeEncoder) -> None:
        super().__init__(tuple(FORECASTS), FORECASTS, encoder_digest=encoder.digest)
        self.let_go = threading.Event()

    def forecast(self, views: Views) -> Forecast:
        assert self.let_go.wait(120)
        return super().forecast(views)


class MoodyEncoder(FakeEncoder):
    """Fails until it is well."""

    is_well = False

    def encode_texts(self, texts: Sequence[str]) -> Views:
        if not self.is_well:
            raise EncodeError("not now")
        return super().encode_texts(texts)


@dataclass(frozen=True)
class Case:
    """A part that fails, and the reason that is given for it."""

    reason: str
    encoder: FakeEncoder
    router: dict[str, Any]


CASES = [
    pytest.param(Case("encoder_failed", FakeEncoder(fail=True), {}), id="failing"),
    pytest.param(Case("encoder_failed", RudeEncoder(), {}), id="rude"),
    pytest.param(Case("router_failed", FakeEncoder(), {"fail": ValueError("a broken artifact")}), id="router-failing"),
]


@pytest.mark.parametrize("case", CASES)
def test_request_is_served_in_the_default_order_and_says_why(
    provider: ScriptedProvider, tmp_path: Path, case: Case
) -> None:
    router = FakeRouter(tuple(FORECASTS), FORECASTS, encoder_digest=case.encoder.digest, **case.router)
    raw = _settings(tmp_path, provider)
    with serving_gateway(raw, tmp_path, encoder=case.encoder, router=router) as site:
        _assert_declined(site, provider, case.reason)


def test_a_request_is_served_while_the_encoder_is_held(provider: ScriptedProvider, tmp_path: Path) -> None:
    encoder = HeldEncoder()
    raw = _settings(tmp_path, provider, encoder={"timeout_ms": SHORT_MS})
    with serving_gateway(raw, tmp_path, encoder=encoder) as site:
        try:
            _assert_declined(site, provider, "encoder_timeout")
        finally:
            encoder.let_go.set()


def test_a_request_is_served_while_the_router_is_held(provider: ScriptedProvider, tmp_path: Path) -> None:
    encoder = FakeEncoder()
    router = HeldRouter(encoder)
    raw = _settings(tmp_path, provider, router={"timeout_ms": SHORT_MS})
    with serving_gateway(raw, tmp_path, encoder=encoder, router=router) as site:
        try:
            _assert_declined(site, provider, "router_timeout")
        finally:
            router.let_go.set()


def test_cap_holds_without_a_forecast(provider: ScriptedProvider, tmp_path: Path) -> None:
    encoder = FakeEncoder(fail=True)
    with serving_gateway(settings_for(tmp_path, provider.url), tmp_path, encoder=encoder) as site:
        cheapest = site.route(_ask())["candidates"][-1]
        assert cheapest["candidate"] == "small"
        assert cheapest["quality"] is None
        price = f"{cheapest['needs_budget_usd']:.9f}"
        assert site.chat(_ask(), X_Budget=price).json["model"] == "small"
        assert site.chat(_ask(), X_Budget="0.000000001").status == 402


def test_encoder_that_failed_routes_again_when_it_is_well(provider: ScriptedProvider, tmp_path: Path) -> None:
    encoder = MoodyEncoder()
    with serving_gateway(settings_for(tmp_path, provider.url), tmp_path, encoder=encoder) as site:
        assert site.chat(_ask()).headers["x-route-reason"] == "declined:encoder_failed"
        encoder.is_well = True
        assert site.chat(_ask()).headers["x-route-reason"] == "routed"


def _settings(folder: Path, provider: ScriptedProvider, **changes: Any) -> dict[str, Any]:
    tenant = {"name": "first", "keys": [{"sha256": hash_key(KEY)}], "budget": {"usd": 1.0}, "candidates": list(ORDER)}
    limits = {"encoder": {"timeout_ms": CERTAIN_MS}, "router": {"timeout_ms": CERTAIN_MS}}
    return settings_for(folder, provider.url, **{"tenants": [tenant], **limits, **changes})


def _assert_declined(site: Site, provider: ScriptedProvider, reason: str) -> None:
    """The tenant's first choice serves, and the second when the first fails; each time the reason is given."""
    answered = site.chat(_ask())
    assert answered.status == 200
    assert answered.json["model"] == ORDER[0]
    assert answered.headers["x-route-reason"] == f"declined:{reason}"
    assert "x-route-quality" not in answered.headers

    provider.on("middle", refuse(500))
    answered = site.chat({**_ask(), "stream": True})
    assert answered.headers["x-route-reason"] == f"declined:{reason};fallback=middle:http_500"
    assert answered.headers["x-route-candidate"] == ORDER[1]
    site.ledger.last_outcome(2)
    assert site.metric("loupe_declines_total", reason=reason) == 2
    site.ledger.assert_settled()


def _ask() -> dict[str, Any]:
    parts = [{"type": "text", "text": "How many?"}, {"type": "image_url", "image_url": {"url": data_url(picture())}}]
    return {"model": "auto", "messages": [{"role": "user", "content": parts}]}
