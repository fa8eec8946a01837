"""The event loop's lag: what keeps it busy is seen."""

from __future__ import annotations

import asyncio
import time

from gateway.telemetry.loop_lag import watch_lag


def test_a_loop_that_was_kept_busy_came_back_late() -> None:
    async def scenario() -> list[float]:
        lags: list[float] = []
        noted = asyncio.Event()

        def note(seconds: float) -> None:
            lags.append(seconds)
            noted.set()

        watching = asyncio.ensure_future(watch_lag(note, every_s=0.001))
        await asyncio.sleep(0)  # it has begun to wait
        until = time.perf_counter() + 0.2
        while time.perf_counter() < until:
            pass
        await asyncio.wait_for(noted.wait(), 10)
        watching.cancel()
        return lags

    lags = asyncio.run(scenario())
    assert lags[0] > 0.15
    assert min(lags) >= 0
