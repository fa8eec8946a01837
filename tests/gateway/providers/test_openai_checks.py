"""The provider that speaks OpenAI's API obeys the laws of every provider, on both loops."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.providers.base import Endpoint
from gateway.providers.openai import OpenAIProvider
from tests.checks.provider_checks import (
    LONG_S,
    PROVIDER_CHECKS,
    Check,
    check_errors_name_no_secret,
    check_every_way_out_frees_its_place,
)

from .conftest import Run
from .harness.raw_server import Ask, RawServer, Script, chunk, chunked, raw_server, say, sized

KEY, HEADER = "sk-never-told", "also-never-told"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PATIENT = (check_errors_name_no_secret, check_every_way_out_frees_its_place)
"""They wait for two time limits each."""
CHECKS = [pytest.param(check, marks=pytest.mark.slow if check in PATIENT else ()) for check in PROVIDER_CHECKS]


class RawStage:
    """OpenAI's wording, on raw sockets."""

    def __init__(self, server: RawServer) -> None:
        self._server = server
        self._cut = 0

    @property
    def secrets(self) -> Sequence[str]:
        return KEY, HEADER

    @property
    def bodies(self) -> Sequence[bytes]:
        return [ask.body for ask in self._server.asks]

    @property
    def request_ids(self) -> Sequence[str]:
        return [dict(ask.headers)["X-Request-Id"] for ask in self._server.asks]

    def open(self, *, places: int = 8, first_byte_s: float = LONG_S, idle_s: float = LONG_S) -> OpenAIProvider:
        return OpenAIProvider(
            Endpoint(
                "pool",
                self._server.url,
                api_key=KEY,
                headers=(("X-Account", HEADER),),
                first_byte_s=first_byte_s,
                idle_s=idle_s,
                max_connections=places,
            )
        )

    def answer(self, *pieces: bytes) -> None:
        self._server.script = say(chunked(*pieces))

    def echo(self) -> None:
        async def script(ask: Ask) -> None:
            await ask.say(sized(ask.body))

        self._server.script = script

    def refuse(self, status: int, body: bytes) -> None:
        self._server.script = say(sized(body, status))

    def break_off(self, *pieces: bytes) -> None:
        async def script(ask: Ask) -> None:
            if pieces:
                await ask.say(HEAD + b"".join(map(chunk, pieces)))
            ask.hang_up()

        self._server.script = script

    def stall(self, *pieces: bytes) -> None:
        self._server.script = self._stalling(pieces)

    async def until_called(self, times: int) -> None:
        await self._server.until(lambda: len(self._server.asks) >= times)

    async def until_cut(self, times: int) -> None:
        await self._server.until(lambda: self._cut >= times)

    async def until_alone(self) -> None:
        await self._server.until(lambda: self._server.open_connections == 0)

    def _stalling(self, pieces: tuple[bytes, ...]) -> Script:
        async def script(ask: Ask) -> None:
            if pieces:
                await ask.say(HEAD + b"".join(map(chunk, pieces)))
            await ask.until_left()
            self._cut += 1
            ask.hang_up()

        return script


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_openai_provider_obeys(check: Check, run: Run) -> None:
    async def main() -> None:
        async with raw_server(say(b"")) as server:
            await check(RawStage(server))

    run(main())
