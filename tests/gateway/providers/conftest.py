"""What touches sockets runs on both loops: uvloop's transports differ from asyncio's in more than speed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

Run = Callable[[Coroutine[Any, Any, None]], None]
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
LIMIT_S = 120.0


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine to its end; fails when it hangs, or when the loop was told of an error nobody took."""

    def runs(main: Coroutine[Any, Any, None]) -> None:
        faults: list[dict[str, Any]] = []

        async def limited() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
            async with asyncio.timeout(LIMIT_S):
                await main

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(limited())
        assert not faults, faults

    return runs
