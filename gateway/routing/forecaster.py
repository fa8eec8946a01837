"""Encoding and forecasting under a time limit, or declining: routing never fails a request and
never delays it longer.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.routing.decision import CandidateForecast
from models.base import ImageSource, Views
from routers.base import Router

Forecasts = Mapping[str, CandidateForecast]
CACHE_ENTRIES = 8_192


class QueryEncoder(Protocol):
    """The part of `models.cache.QueryEncoder` that routing needs."""

    def cached(self, text: str, images: Sequence[ImageSource]) -> Views | None: ...
    async def encode(self, text: str, images: Sequence[ImageSource]) -> Views: ...


@dataclass(frozen=True, slots=True)
class NoForecast:
    """The reason for a missing forecast: a short label for `X-Route-Reason` and metrics."""

    reason: str


@dataclass(slots=True)
class RouterInService:
    """The router that is used for forecasts from now on; assigning `router` replaces it."""

    router: Router


@dataclass(frozen=True, slots=True)
class ForecastLimits:
    """Time limits of encoding and forecasting, in seconds."""

    encode_s: float
    forecast_s: float


class Forecaster:
    """A source of forecasts, by the router that is in service when a request is decided.

    `widen` gives a router columns for candidates that it does not know, and is called once per router. `staged`
    receives the seconds that `encode` and `forecast` took, if they were not cached.
    """

    def __init__(
        self,
        encoder: QueryEncoder,
        in_service: RouterInService,
        limits: ForecastLimits,
        *,
        report: Callable[[str, BaseException], None],
        staged: Callable[[str, float], None] = lambda _, __: None,
        widen: Callable[[Router], Router] = lambda router: router,
    ) -> None:
        self._encoder = encoder
        self._in_service = in_service
        self._limits = limits
        self._report = report
        self._staged = staged
        self._widen = widen
        self._source = in_service.router
        self._current = self._serve(in_service.router)

    @property
    def current(self) -> RouterForecaster:
        """The forecaster of the router in service. A request takes it once and keeps using it."""
        if self._in_service.router is not self._source:
            self._source = self._in_service.router
            self._current = self._serve(self._source)
        return self._current

    def _serve(self, router: Router) -> RouterForecaster:
        return RouterForecaster(self._encoder, self._widen(router), self._limits, self._report, self._staged)


class RouterForecaster:
    """The forecasts of one router. They are cached as long as the router is in service."""

    def __init__(
        self,
        encoder: QueryEncoder,
        router: Router,
        limits: ForecastLimits,
        report: Callable[[str, BaseException], None],
        staged: Callable[[str, float], None],
    ) -> None:
        self.digest = router.digest
        """The router's digest, in the record of every request that this router decided."""
        self._encoder = encoder
        self._router = router
        self._limits = limits
        self._report = report
        self._staged = staged
        self._known: OrderedDict[tuple[str, tuple[bytes, ...]], Forecasts] = OrderedDict()

    def known(self, text: str, images: Sequence[ImageSource]) -> Forecasts | None:
        """Return the forecast of a query seen before, or None, without waiting."""
        key = (text, tuple(image.key for image in images))
        forecasts = self._known.get(key)
        if forecasts is not None:
            self._known.move_to_end(key)
        return forecasts

    async def forecast(self, text: str, images: Sequence[ImageSource]) -> Forecasts | NoForecast:
        """Forecast a query, or return why not; takes no longer than both limits together."""
        views = self._encoder.cached(text, images)
        if views is None:
            began = time.perf_counter()
            try:
                async with asyncio.timeout(self._limits.encode_s):
                    views = await self._encoder.encode(text, images)
            except TimeoutError:
                return NoForecast("encoder_timeout")
            except Exception as error:  # whatever breaks in the encoder, the request is served
                self._report("encoder_failed", error)
                return NoForecast("encoder_failed")
            finally:
                self._staged("encode", time.perf_counter() - began)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._limits.forecast_s):
                forecasts = await asyncio.to_thread(self._run_router, views)
        except TimeoutError:
            return NoForecast("router_timeout")
        except Exception as error:
            self._report("router_failed", error)
            return NoForecast("router_failed")
        finally:
            self._staged("forecast", time.perf_counter() - began)
        self._keep((text, tuple(image.key for image in images)), forecasts)
        return forecasts

    def _run_router(self, views: Views) -> Forecasts:
        router = self._router
        found = router.forecast(views)
        columns = zip(
            router.candidates,
            found.quality[0].tolist(),
            found.quality_std[0].tolist(),
            found.output_tokens[0].tolist(),
            found.output_tokens_high[0].tolist(),
            strict=True,
        )
        forecasts = {}
        for name, *numbers in columns:
            if not all(map(math.isfinite, numbers)):
                raise ValueError(f"the forecast of {name} is not finite: {numbers}")
            forecasts[name] = CandidateForecast(*numbers)
        return forecasts

    def _keep(self, key: tuple[str, tuple[bytes, ...]], forecasts: Forecasts) -> None:
        self._known[key] = forecasts
        while len(self._known) > CACHE_ENTRIES:
            self._known.popitem(last=False)
