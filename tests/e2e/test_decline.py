"""Routing is an optimisation: when the encoder or the router fails or is slow, the tenant's default order serves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import hash_key
from models.base import EncodeError, Views
from tests.fakes.encoder import FakeEncoder
from tests.fakes.router import FakeRouter

from .pictures import data_url, picture
from .scripted_provider import ScriptedProvider
from .scripts import refuse
from .site import FORECASTS, KEY, serving_gateway, settings_for

ORDER = ("middle", "small", "large")
LIMIT_MS = 150
SLOW_S = 1.2


class RudeEncoder(FakeEncoder):
    """Breaks with what no encoder should raise."""

    def encode_texts(self, texts: Sequence[str]) -> Views:
        raise MemoryError("no memory")


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
    pytest.param(Case("encoder_timeout", FakeEncoder(delay_s=SLOW_S), {}), id="slow", marks=pytest.mark.slow),
    pytest.param(Case("router_failed", FakeEncoder(), {"fail": ValueError("a broken artifact")}), id="router-failing"),
    pytest.param(Case("router_timeout", FakeEncoder(), {"delay_s": SLOW_S}), id="router-slow", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("case", CASES)
def test_request_is_served_in_the_default_order_and_says_why(
    provider: ScriptedProvider, tmp_path: Path, case: Case
) -> None:
    router = FakeRouter(tuple(FORECASTS), FORECASTS, encoder_digest=case.encoder.digest, **case.router)
    tenant = {"name": "first", "keys": [{"sha256": hash_key(KEY)}], "budget": {"usd": 1.0}, "candidates": list(ORDER)}
    raw = settings_for(
        tmp_path,
        provider.url,
        tenants=[tenant],
        encoder={"timeout_ms": LIMIT_MS},
        router={"timeout_ms": LIMIT_MS},
    )
    with serving_gateway(raw, tmp_path, encoder=case.encoder, router=router) as site:
        body = _ask()
        began = time.perf_counter()
        answered = site.chat(body)
        took = time.perf_counter() - began
        assert answered.status == 200
        assert answered.json["model"] == ORDER[0]
        assert answered.headers["x-route-reason"] == f"declined:{case.reason}"
        assert "x-route-quality" not in answered.headers
        assert took < SLOW_S, "it waited no longer than its limits"

        provider.on("middle", refuse(500))
        answered = site.chat({**body, "stream": True})
        assert answered.headers["x-route-reason"] == f"declined:{case.reason};fallback=middle:http_500"
        assert answered.headers["x-route-candidate"] == ORDER[1]
        site.ledger.last_outcome(2)
        assert site.metric("loupe_declines_total", reason=case.reason) == 2
        site.ledger.assert_settled()


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


def _ask() -> dict[str, Any]:
    parts = [{"type": "text", "text": "How many?"}, {"type": "image_url", "image_url": {"url": data_url(picture())}}]
    return {"model": "auto", "messages": [{"role": "user", "content": parts}]}
