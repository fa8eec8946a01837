"""The event loop's lag: what keeps it busy is seen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.telemetry.gauges import watch_lag


def lags_by(readings: Sequence[float], count: int) -> list[float]:
    """What is noted when a clock shows these seconds, one after the other; a wait is to take a thousandth."""

    async def scenario() -> list[float]:
        lags: list[float] = []
        noted = asyncio.Event()

        def note(seconds: float) -> None:
            lags.append(seconds)
            if len(lags) == count:
                noted.set()

        watching = asyncio.ensure_future(watch_lag(note, 0.001, iter([*readings, *[0.0] * 10_000]).__next__))
        async with asyncio.timeout(60):
            await noted.wait()
        watching.cancel()
        return lags[:count]

    return asyncio.run(scenario())


def test_a_loop_that_comes_back_late_is_late_by_what_the_clock_shows_beyond_the_wait() -> None:
    assert lags_by([10.0, 10.2, 10.2, 10.201], 2) == pytest.approx([0.199, 0.0])


def test_a_clock_that_is_behind_shows_no_lag_below_zero() -> None:
    assert lags_by([10.0, 9.0], 1) == [0.0]
