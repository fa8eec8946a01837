"""What this provider says and sends beyond the laws of every provider: retries, headers, encodings, refusals."""

from __future__ import annotations

import asyncio
import gzip
import socket
import zlib
from collections.abc import Callable

import pytest

from gateway.errors import ConfigError, ProviderError
from gateway.providers.base import Endpoint
from gateway.providers.openai import LONGEST_ERROR_BYTES, OpenAIExchange, OpenAIProvider
from tests.checks.provider_checks import FAIR_S, read_all, refusal

from .conftest import Run
from .harness.pooled import OK
from .harness.raw_server import (
    Ask,
    Script,
    chunk,
    chunked,
    endless,
    in_turn,
    provider_at,
    raw_server,
    say,
    say_and_hang_up,
    say_and_wait,
    sized,
)

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def hang_up(ask: Ask) -> None:
    ask.hang_up()


async def reset(ask: Ask) -> None:
    ask.reset()


@pytest.mark.parametrize("leave", [hang_up, reset])
def test_a_request_that_was_delivered_is_never_sent_again(run: Run, leave: Script) -> None:
    """A provider that got the request may be at work on it, however its connection ended (RFC 9110, 9.2.2)."""

    async def main() -> None:
        async with raw_server(in_turn(say(OK), leave, say(OK))) as server, provider_at(server.url) as provider:
            assert await read_all(await provider.send(b"{}", "req_1")) == b"ok"
            refused = await refusal(provider)
            assert (refused.reason, refused.reached) == ("connection_failed", True)
            assert len(server.asks) == 2
            assert await read_all(await provider.send(b"{}", "req_1")) == b"ok"

    run(main())


def test_it_is_not_tried_again_on_a_new_connection_or_after_a_byte(run: Run) -> None:
    async def main() -> None:
        async with raw_server(hang_up) as server, provider_at(server.url) as provider:
            assert (await refusal(provider)).reason == "connection_failed"
            assert len(server.asks) == 1
            server.script = in_turn(say(OK), say_and_hang_up(b"H"))
            await read_all(await provider.send(b"{}", "req_1"))
            assert (await refusal(provider)).reason == "connection_failed"
            assert len(server.asks) == 3

    run(main())


def test_headers_are_sent_once_each_and_the_operators_stand_in_for_ours(run: Run) -> None:
    more = (("X-Account", "acme"), ("user-agent", "acme/1"))

    async def main() -> None:
        async with (
            raw_server(say(OK)) as server,
            provider_at(server.url + "/?api-version=2", api_key="sk-1\n", headers=more) as provider,
        ):
            await read_all(await provider.send(b'{"a": 1}', "req_7"))
            assert server.asks[0].line == "POST /v1/chat/completions?api-version=2 HTTP/1.1"
            assert server.asks[0].headers == [
                ("Host", f"127.0.0.1:{server.port}"),
                ("Content-Type", "application/json"),
                ("Accept", "application/json, text/event-stream"),
                ("Accept-Encoding", "identity"),
                ("user-agent", "acme/1"),
                ("X-Account", "acme"),
                ("Authorization", "Bearer sk-1"),
                ("X-Request-Id", "req_7"),
                ("Content-Length", "8"),
            ]

    run(main())


@pytest.mark.parametrize(
    "endpoint",
    [
        Endpoint("pool", "http://a.test", headers=(("X-Account", "never\r\nTold: 1"),)),
        Endpoint("pool", "http://a.test", api_key="sk-never\ntold"),
        Endpoint("pool", "http://a.test", api_key="sk-never-töld"),
        Endpoint("pool", "http://"),
        Endpoint("pool", "http://a.test:99999"),
        Endpoint("pool", "http://a..test/v1"),
        Endpoint("pool", "http://user:never@a.test/v1"),
        Endpoint("pool", "http://user:ne/ver@a.test/v1"),
        Endpoint("pool", "http://a.test/v1#never"),
        Endpoint("pool", "http://a.test/v1?version=1#never"),
    ],
)
def test_what_can_not_be_sent_is_refused_at_the_start_without_naming_it(endpoint: Endpoint) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match=r"providers\.pool") as caught:
            OpenAIProvider(endpoint)
        assert "never" not in str(caught.value)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/v1", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/chat/completions", "/chat/completions"),
        ("", "/chat/completions"),
        ("/v1/chat/completions?version=1", "/v1/chat/completions?version=1"),
        ("/my/chat/completions/v1", "/my/chat/completions/v1/chat/completions"),
    ],
)
def test_the_path_of_the_endpoint_may_be_given_whole(run: Run, path: str, sent: str) -> None:
    async def main() -> None:
        async with raw_server(say(OK)) as server:
            async with provider_at(server.url.removesuffix("/v1") + path) as provider:
                await read_all(await provider.send(b"{}", "req_1"))
            assert server.asks[0].line == f"POST {sent} HTTP/1.1"

    run(main())


@pytest.mark.parametrize("coding", [b"gzip", b"X-GZIP", b"deflate"])
@pytest.mark.parametrize("framed", [sized, chunked])
def test_compressed_reply_is_read(run: Run, coding: bytes, framed: Callable[..., bytes]) -> None:
    text = bytes(range(256)) * 20_000
    packed = zlib.compress(text) if coding == b"deflate" else gzip.compress(text)

    async def main() -> None:
        reply = (
            framed(packed, 200, b"Content-Encoding: " + coding)
            if framed is sized
            else (
                b"HTTP/1.1 200 OK\r\nContent-Encoding: "
                + coding
                + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
                + b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed)
            )
        )
        async with raw_server(say(reply)) as server, provider_at(server.url) as provider:
            for _ in range(2):
                assert await read_all(await provider.send(b"{}", "req_1")) == text

    run(main())


def test_compressed_reply_that_is_cut_or_wrong_or_of_another_coding_fails(run: Run) -> None:
    whole = gzip.compress(b"a reply")

    async def main() -> None:
        async with raw_server(say(b"")) as server, provider_at(server.url) as provider:
            for packed in (whole[:-5], b"\x1f\x8bno"):
                server.script = say(sized(packed, 200, b"Content-Encoding: gzip"))
                with pytest.raises(ProviderError) as caught:
                    await read_all(await provider.send(b"{}", "req_1"))
                assert caught.value.reached
            server.script = say(sized(b"x", 200, b"Content-Encoding: br"))
            assert (await refusal(provider)).reason == "content_encoding"
            server.script = say(sized(b"ok", 200, b"content-encoding: Identity"))
            assert await read_all(await provider.send(b"{}", "req_1")) == b"ok"

    run(main())


def test_success_other_than_200_is_read(run: Run) -> None:
    async def main() -> None:
        async with raw_server(say(sized(b"ok", 201))) as server, provider_at(server.url) as provider:
            assert await read_all(await provider.send(b"{}", "req_1")) == b"ok"

    run(main())


def test_refusal_says_what_the_provider_said_but_no_key(run: Run) -> None:
    async def main() -> None:
        body = b'{"error": {"message": "no such thing, %s", "code": "context_length_exceeded", "param": "messages"}}'
        reply = sized(body % b"odd-key-of-ours", 400, b"Retry-After: 27")
        async with (
            raw_server(say(reply)) as server,
            provider_at(server.url, api_key="odd-key-of-ours") as provider,
        ):
            refused = await refusal(provider)
        assert (refused.said, refused.code, refused.param) == (
            "no such thing, [key]",
            "context_length_exceeded",
            "messages",
        )
        assert (refused.fault, refused.retry_after_s) == ("context_length", 27)
        assert "no such thing" in str(refused) and "odd-key" not in str(refused)

    run(main())


def test_empty_reply_is_refused(run: Run) -> None:
    async def main() -> None:
        for reply in (sized(b""), chunked(), endless(b"")):
            async with raw_server(say_and_hang_up(reply)) as server, provider_at(server.url) as provider:
                refused = await refusal(provider)
                assert (refused.reason, refused.fault) == ("empty_reply", None)

    run(main())


def test_any_status_but_a_success_with_a_body_is_a_refusal(run: Run) -> None:
    async def main() -> None:
        async with raw_server(say(b"")) as server, provider_at(server.url) as provider:
            for status in (204, 205, 301, 302, 307, 415, 418, 504, 599):
                server.script = say(sized(b"", status, b"Location: http://127.0.0.1:1/"))
                refused = await refusal(provider)
                assert (refused.status, refused.blames_request) == (status, status in (415, 418))
            assert server.connections == 7, "kept after the two that refuse the request, closed after the others"

    run(main())


def test_long_error_body_is_cut(run: Run) -> None:
    async def main() -> None:
        long = bytes(range(256)) * 4096
        for reply in (sized(long, 400), chunked(long, status=400), endless(long, 400)):
            async with raw_server(say_and_hang_up(reply)) as server, provider_at(server.url) as provider:
                assert (await refusal(provider)).body == long[:LONGEST_ERROR_BYTES]

    run(main())


def test_error_body_that_breaks_off_or_stalls_leaves_its_status(run: Run) -> None:
    async def main() -> None:
        part = sized(b"no, for this and that", 429)[:-5]
        async with (
            raw_server(say_and_hang_up(part)) as server,
            provider_at(server.url, first_byte_s=FAIR_S) as provider,
        ):
            for script in (say_and_hang_up(part), say_and_wait(part)):
                server.script = script
                refused = await refusal(provider)
                assert (refused.status, refused.body) == (429, b"no, for this and")

    run(main())


def test_exchanges_under_way_come_to_their_end_when_the_provider_is_closed(run: Run) -> None:
    go_on = asyncio.Event()

    async def script(ask: Ask) -> None:
        await ask.say(HEAD + chunk(b"a"))
        await go_on.wait()
        await ask.say(chunk(b"b") + b"0\r\n\r\n")

    async def main() -> None:
        async with raw_server(script) as server, provider_at(server.url) as provider:
            exchanges: list[OpenAIExchange] = [await provider.send(b"{}", f"req_{n}") for n in range(3)]
            await provider.close()
            go_on.set()
            assert [await read_all(exchange) for exchange in exchanges] == [b"ab"] * 3
            await server.until(lambda: server.open_connections == 0)

    run(main())


def test_provider_at_an_ipv6_address_is_reached(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    if not _has_ipv6():
        with capsys.disabled():
            print("\nnot shown: this machine has no IPv6 loopback")
        return

    async def main() -> None:
        async with raw_server(say(OK), host="::1") as server:
            async with provider_at(f"http://[::1]:{server.port}/v1") as provider:
                assert await read_all(await provider.send(b"{}", "req_1")) == b"ok"
            assert ("Host", f"[::1]:{server.port}") in server.asks[0].headers

    run(main())


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
