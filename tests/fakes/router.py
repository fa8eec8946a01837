"""A router that forecasts what a test told it to, slowly or not at all if the test says so."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from routers.base import Floats, Forecast, Views


@dataclass(frozen=True, slots=True)
class Fixed:
    """What is forecast for one candidate, whatever the query."""

    quality: float = 0.5
    quality_std: float = 0.05
    output_tokens: float = 100.0
    output_tokens_high: float = 200.0


class FakeRouter:
    """`FakeRouter(("a", "b"), {"a": Fixed(0.9), "b": Fixed(0.4)})` forecasts that for every row.

    Candidates that the table leaves out get `Fixed()`. `delay_s` blocks as a busy router would; `fail` is
    raised by every forecast. `calls` counts the forecasts asked for, failed ones too.
    """

    def __init__(
        self,
        candidates: Sequence[str],
        table: Mapping[str, Fixed] | None = None,
        *,
        delay_s: float = 0.0,
        fail: Exception | None = None,
        view_dims: Mapping[str, int] | None = None,
        encoder_digest: str = "fake-encoder",
    ) -> None:
        self.candidates = tuple(candidates)
        self.digest = "fake-router"
        self.encoder_digest = encoder_digest
        self.view_dims: Mapping[str, int] = {"text": 384} if view_dims is None else dict(view_dims)
        self.calls = 0
        self._fixed = [(table or {}).get(name, Fixed()) for name in self.candidates]
        self._delay_s = delay_s
        self._fail = fail

    def forecast(self, views: Views) -> Forecast:
        self.calls += 1
        if self._delay_s:
            time.sleep(self._delay_s)
        if self._fail is not None:
            raise self._fail
        rows = self._rows(views)
        return Forecast(
            quality=self._repeat(rows, [fixed.quality for fixed in self._fixed]),
            quality_std=self._repeat(rows, [fixed.quality_std for fixed in self._fixed]),
            output_tokens=self._repeat(rows, [fixed.output_tokens for fixed in self._fixed]),
            output_tokens_high=self._repeat(rows, [fixed.output_tokens_high for fixed in self._fixed]),
        )

    def _rows(self, views: Views) -> int:
        rows = 0
        for name, dimension in self.view_dims.items():
            shape = views[name].shape
            if len(shape) != 2 or shape[1] != dimension:
                raise ValueError(f"view {name!r} is {shape}, not [n, {dimension}]")
            rows = shape[0]
        return rows

    @staticmethod
    def _repeat(rows: int, values: list[float]) -> Floats:
        return np.tile(np.array(values, dtype=np.float64), (rows, 1))
