"""Routing declines, it never fails: whatever the encoder or the router does, there is an answer in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
import pytest

from gateway.forecaster import Declined, Forecaster, ForecastLimits, Forecasts, RouterInService
from models.base import ImageSource, Views
from routers.newcomers import DOUBT, widened
from tests.fakes.router import FakeRouter, Fixed

VIEWS: Views = {"text": np.zeros((1, 384), dtype=np.float32)}


class SlowEncoder:
    """Implements `gateway.forecaster.QueryEncoder`."""

    def __init__(self, *, delay_s: float = 0.0, fail: Exception | None = None) -> None:
        self.delay_s, self.fail, self.calls = delay_s, fail, 0

    def cached(self, text: str, images: Sequence[ImageSource]) -> Views | None:
        return VIEWS if text == "known" else None

    async def encode(self, text: str, images: Sequence[ImageSource]) -> Views:
        self.calls += 1
        await asyncio.sleep(self.delay_s)
        if self.fail is not None:
            raise self.fail
        return VIEWS


class Asked:
    """A forecaster with what it reported."""

    def __init__(self, encoder: SlowEncoder, router: FakeRouter) -> None:
        self.reports: list[str] = []
        self.stages: list[str] = []
        self.in_service = RouterInService(router)
        self.forecaster = Forecaster(
            encoder,
            self.in_service,
            ForecastLimits(encode_s=0.05, forecast_s=0.05),
            report=lambda where, error: self.reports.append(where),
            staged=lambda stage, seconds: self.stages.append(f"{stage} {seconds > 0}"),
            widen=lambda router: widened(router, {"a": 1.0, "newcomer": 2.0}),
        )

    def forecast(self, text: str = "what?") -> Forecasts | Declined:
        return asyncio.run(self.forecaster.current.forecast(text, ()))


def test_a_forecast_stands_under_each_candidates_name() -> None:
    asked = Asked(SlowEncoder(), FakeRouter(("a", "b"), {"a": Fixed(0.9, 0.1, 10, 20), "b": Fixed(0.4)}))
    found = asked.forecast()
    assert not isinstance(found, Declined)
    assert list(found) == ["a", "b", "newcomer"]
    assert (found["a"].quality, found["a"].output_tokens, found["a"].output_tokens_high) == (0.9, 10.0, 20.0)


def test_a_forecast_is_known_the_next_time() -> None:
    encoder, router = SlowEncoder(), FakeRouter(("a",))
    asked = Asked(encoder, router)
    assert asked.forecaster.current.known("what?", ()) is None
    found = asked.forecast()
    assert asked.forecaster.current.known("what?", ()) is found
    assert asked.forecaster.current.known("who?", ()) is None
    assert (encoder.calls, router.calls) == (1, 1)


def test_views_that_are_cached_are_not_encoded_again() -> None:
    encoder = SlowEncoder(fail=RuntimeError("not to be called"))
    assert not isinstance(Asked(encoder, FakeRouter(("a",))).forecast("known"), Declined)
    assert encoder.calls == 0


@pytest.mark.parametrize(
    ("encoder", "router", "reason", "reports"),
    [
        (SlowEncoder(delay_s=5), FakeRouter(("a",)), "encoder_timeout", []),
        (SlowEncoder(fail=RuntimeError("broken image")), FakeRouter(("a",)), "encoder_failed", ["encoder_failed"]),
        (SlowEncoder(), FakeRouter(("a",), delay_s=0.3), "router_timeout", []),
        (SlowEncoder(), FakeRouter(("a",), fail=KeyError("image")), "router_failed", ["router_failed"]),
        (SlowEncoder(), FakeRouter(("a",), {"a": Fixed(float("nan"))}), "router_failed", ["router_failed"]),
        (
            SlowEncoder(),
            FakeRouter(("a",), {"a": Fixed(0.5, 0.1, 10, float("inf"))}),
            "router_failed",
            ["router_failed"],
        ),
    ],
)
def test_what_breaks_or_lags_declines(
    encoder: SlowEncoder, router: FakeRouter, reason: str, reports: list[str]
) -> None:
    asked = Asked(encoder, router)
    began = time.monotonic()
    assert asked.forecast() == Declined(reason)
    assert time.monotonic() - began < 2
    assert asked.reports == reports
    assert asked.forecaster.current.known("what?", ()) is None


def test_stages_are_timed_where_they_were_gone_through() -> None:
    asked = Asked(SlowEncoder(), FakeRouter(("a",)))
    asked.forecast()
    asked.forecast("known")
    assert asked.stages == ["encode True", "forecast True", "forecast True"]
    failing = Asked(SlowEncoder(fail=RuntimeError("broken")), FakeRouter(("a",)))
    failing.forecast()
    assert failing.stages == ["encode True"]


def test_a_candidate_that_the_router_does_not_know_is_forecast_as_its_neighbour_in_price_and_unsurely() -> None:
    found = Asked(SlowEncoder(), FakeRouter(("a", "b"), {"a": Fixed(0.9, 0.1, 10, 20)})).forecast()
    assert not isinstance(found, Declined)
    assert (found["newcomer"].quality, found["newcomer"].output_tokens_high) == (pytest.approx(0.9), 20.0)
    assert found["newcomer"].quality_std == pytest.approx((0.1**2 + DOUBT**2) ** 0.5)


def test_another_router_forecasts_anew_and_who_began_with_the_old_one_keeps_it() -> None:
    old, new = FakeRouter(("a",), {"a": Fixed(0.2)}), FakeRouter(("a",), {"a": Fixed(0.7)})
    new.digest = "another"
    asked = Asked(SlowEncoder(), old)
    asked.forecast()
    begun = asked.forecaster.current
    asked.in_service.router = new
    assert asked.forecaster.current.known("what?", ()) is None
    found = asked.forecast()
    assert not isinstance(found, Declined)
    assert (found["a"].quality, asked.forecaster.current.digest) == (0.7, "another")
    kept = begun.known("what?", ())
    assert kept is not None
    assert (kept["a"].quality, begun.digest, new.calls) == (0.2, "fake-router", 1)
