"""Routing declines, it never fails: whatever the encoder or the router does, there is an answer in time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from gateway.routing.forecaster import Forecaster, ForecastLimits, Forecasts, NoForecast, RouterInService
from models.base import ImageSource, Views
from routers.algorithms.cold_start import DOUBT, widened
from routers.base import Forecast
from tests.fakes.router import FakeRouter, Fixed

VIEWS: Views = {"text": np.zeros((1, 384), dtype=np.float32)}


class SlowEncoder:
    """Implements `gateway.routing.forecaster.QueryEncoder`."""

    def __init__(self, *, answers: bool = True, fail: Exception | None = None) -> None:
        self.answers, self.fail, self.calls = answers, fail, 0

    def cached(self, text: str, images: Sequence[ImageSource]) -> Views | None:
        return VIEWS if text == "known" else None

    async def encode(self, text: str, images: Sequence[ImageSource]) -> Views:
        self.calls += 1
        if not self.answers:
            await asyncio.Event().wait()
        if self.fail is not None:
            raise self.fail
        return VIEWS


class HeldRouter(FakeRouter):
    """Forecasts only when it is let go."""

    def __init__(self) -> None:
        super().__init__(("a",))
        self.let_go = threading.Event()

    def forecast(self, views: Views) -> Forecast:
        assert self.let_go.wait(60)
        return super().forecast(views)


class Asked:
    """A forecaster with what it reported, whose limits are `limit_s`."""

    def __init__(self, encoder: SlowEncoder, router: FakeRouter, limit_s: float = 60.0) -> None:
        self.reports: list[str] = []
        self.stages: list[str] = []
        self.in_service = RouterInService(router)
        self.forecaster = Forecaster(
            encoder,
            self.in_service,
            ForecastLimits(encode_s=limit_s, forecast_s=limit_s),
            report=lambda where, error: self.reports.append(where),
            staged=lambda stage, seconds: self.stages.append(f"{stage} {seconds > 0}"),
            widen=lambda router: widened(router, {"a": 1.0, "newcomer": 2.0}),
        )

    def forecast(self, text: str = "what?") -> Forecasts | NoForecast:
        return asyncio.run(self.forecaster.current.forecast(text, ()))


def test_a_forecast_stands_under_each_candidates_name() -> None:
    asked = Asked(SlowEncoder(), FakeRouter(("a", "b"), {"a": Fixed(0.9, 0.1, 10, 20), "b": Fixed(0.4)}))
    found = asked.forecast()
    assert not isinstance(found, NoForecast)
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
    assert not isinstance(Asked(encoder, FakeRouter(("a",))).forecast("known"), NoForecast)
    assert encoder.calls == 0


@pytest.mark.parametrize(
    ("encoder", "router", "reason", "reports"),
    [
        (SlowEncoder(fail=RuntimeError("broken image")), FakeRouter(("a",)), "encoder_failed", ["encoder_failed"]),
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
def test_what_breaks_declines(encoder: SlowEncoder, router: FakeRouter, reason: str, reports: list[str]) -> None:
    asked = Asked(encoder, router)
    assert asked.forecast() == NoForecast(reason)
    assert asked.reports == reports
    assert asked.forecaster.current.known("what?", ()) is None


def test_an_encoder_that_never_answers_is_waited_for_no_longer_than_its_limit() -> None:
    asked = Asked(SlowEncoder(answers=False), FakeRouter(("a",)), limit_s=0.05)
    assert asked.forecast() == NoForecast("encoder_timeout")
    assert asked.reports == []
    assert asked.forecaster.current.known("what?", ()) is None


def test_a_router_that_has_not_answered_is_waited_for_no_longer_than_its_limit() -> None:
    router = HeldRouter()
    asked = Asked(SlowEncoder(), router, limit_s=0.05)

    async def declined() -> Forecasts | NoForecast:
        found = await asked.forecaster.current.forecast("known", ())
        router.let_go.set()  # only now: what was declined had not been forecast
        return found

    assert asyncio.run(declined()) == NoForecast("router_timeout")
    assert asked.reports == []
    assert asked.forecaster.current.known("known", ()) is None


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
    assert not isinstance(found, NoForecast)
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
    assert not isinstance(found, NoForecast)
    assert (found["a"].quality, asked.forecaster.current.digest) == (0.7, "another")
    kept = begun.known("what?", ())
    assert kept is not None
    assert (kept["a"].quality, begun.digest, new.calls) == (0.2, "fake-router", 1)
