"""How long the provider waits, and that nobody waits for it longer than that: time limits and cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

import pytest

from gateway.errors import ProviderError
from gateway.providers.base import Exchange
from gateway.providers.openai import OpenAIProvider
from tests.checks.provider_checks import FAIR_S, SHORT_S, read_all, refusal

from .conftest import Run
from .harness.pooled import OK
from .harness.raw_server import (
    Ask,
    Script,
    chunk,
    provider_at,
    raw_server,
    say,
    say_and_hang_up,
    say_and_wait,
)

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def trickle(ask: Ask) -> None:
    """A byte now and then, for ever."""
    await ask.say(HEAD)
    while not ask.has_hung_up:
        await ask.say(chunk(b"x"))
        await asyncio.sleep(0.01)


async def pour(ask: Ask) -> None:
    """More than can be read, for ever."""
    await ask.say(HEAD)
    while not ask.has_hung_up:
        await ask.say(chunk(bytes(262_144)))
        await asyncio.sleep(0)


def test_headers_without_a_body_are_no_first_byte(run: Run) -> None:
    async def main() -> None:
        async with raw_server(say_and_wait(HEAD)) as server:
            async with provider_at(server.url, first_byte_s=SHORT_S) as provider:
                assert (await refusal(provider)).reason == "first_byte_timeout"
                await server.until(lambda: server.open_connections == 0)
            async with provider_at(server.url) as provider:
                server.script = say_and_hang_up(HEAD)
                assert (await refusal(provider)).reason == "connection_failed"

    run(main())


@pytest.mark.slow
def test_bytes_now_and_then_are_no_stall(run: Run) -> None:
    async def script(ask: Ask) -> None:
        await ask.say(HEAD)
        for _ in range(15):
            await ask.say(chunk(b"x"))
            await asyncio.sleep(0.3)
        await ask.say(b"0\r\n\r\n")

    async def main() -> None:
        async with raw_server(script) as server, provider_at(server.url, idle_s=3.0, first_byte_s=60.0) as provider:
            assert await read_all(await provider.send(b"{}", "req_1")) == b"x" * 15

    run(main())


@pytest.mark.parametrize("script", [trickle, pour])
def test_reply_without_end_is_cut_when_its_time_is_up(run: Run, script: Script) -> None:
    async def main() -> None:
        async with raw_server(script) as server, provider_at(server.url, total_s=FAIR_S) as provider:
            with pytest.raises(ProviderError) as caught:  # on a busy machine before its first byte, perhaps
                async with closing_at_the_end(await provider.send(b"{}", "req_1")) as exchange:
                    while await exchange.read():
                        await asyncio.sleep(0.001)  # always behind, when it pours
            assert caught.value.reason == "total_timeout"
            await server.until(lambda: server.open_connections == 0)

    run(main())


def test_time_in_all_counts_before_the_first_byte_and_while_waiting_for_a_place(run: Run) -> None:
    async def main() -> None:
        async with (
            raw_server(say_and_wait(b"")) as server,
            provider_at(server.url, total_s=FAIR_S, max_connections=1) as provider,
        ):
            errors = await asyncio.gather(*(refusal(provider) for _ in range(2)))
            assert [error.reason for error in errors] == ["total_timeout", "total_timeout"]
            server.script = say(OK)
            assert await read_all(await provider.send(b"{}", "req_1")) == b"ok"

    run(main())


def test_connecting_to_nobody_fails_at_once_and_connecting_to_the_silent_in_time(run: Run) -> None:
    async def main() -> None:
        async with raw_server(say(OK)) as server:
            silent = server.url.replace("http", "https")  # it never answers the handshake
            async with provider_at(silent, connect_s=SHORT_S, max_connections=1) as provider:
                errors = await asyncio.gather(*(refusal(provider) for _ in range(2)))
                assert [error.reason for error in errors] == ["connect_timeout", "connect_timeout"]
            async with provider_at(silent, connect_s=FAIR_S, total_s=SHORT_S) as provider:
                assert (await refusal(provider)).reason == "total_timeout"
        for url in (server.url, f"http://localhost:{server.port}"):
            async with provider_at(url, max_connections=1) as provider:
                for _ in range(2):
                    refused = await refusal(provider)
                    assert refused.reason == "connection_failed"
                    assert "None" not in str(refused)

    run(main())


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", HEAD, HEAD + chunk(b"x")])
def test_cancelled_call_is_cut_at_any_point_and_frees_its_place(run: Run, said: bytes) -> None:
    async def main() -> None:
        async with raw_server(say_and_wait(said)) as server, provider_at(server.url, max_connections=1) as provider:
            for number in range(1, 4):
                await _cancelled(_sent_and_read(provider), server.until(lambda: server.open_connections == 1))
                await server.until(lambda: server.open_connections == 0)
                assert server.connections == number
            server.script = say(OK)
            assert await read_all(await provider.send(b"{}", "req_1")) == b"ok"

    run(main())


@asynccontextmanager
async def closing_at_the_end(exchange: Exchange) -> AsyncIterator[Exchange]:
    try:
        yield exchange
    finally:
        exchange.close()


async def _sent_and_read(provider: OpenAIProvider) -> None:
    exchange = await provider.send(b"{}", "req_1")
    try:
        await read_all(exchange)
    finally:
        exchange.close()


async def _cancelled(main: Coroutine[object, object, None], once: Coroutine[object, object, None]) -> None:
    """Begin the one, await the other, cancel the one."""
    task = asyncio.create_task(main)
    await once
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
