"""The provider over TLS: whom it trusts, and that nothing else changes. `self_signed.pem` is of the tests alone."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.providers.base import Endpoint
from gateway.providers.openai import OpenAIProvider
from tests.checks.provider_checks import PROVIDER_CHECKS, Check, read_all, refusal

from .conftest import Run
from .harness.pooled import OK
from .harness.raw_server import provider_at, raw_server, say, sized
from .test_openai_checks import RawStage

pytestmark = pytest.mark.slow  # all the laws again, over TLS
CERTIFICATE = Path(__file__).parent / "harness" / "self_signed.pem"


@pytest.fixture
def tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator who trusts the certificate, as OpenSSL lets one."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))


def test_certificate_that_nobody_vouches_for_is_refused(run: Run, tls: ssl.SSLContext) -> None:
    async def main() -> None:
        async with raw_server(say(OK), tls=tls) as server, provider_at(server.url, max_connections=1) as provider:
            for _ in range(2):
                refused = await refusal(provider)
                assert (refused.reason, refused.fault) == ("tls_failed", None)
            assert not server.asks

    run(main())


@pytest.mark.usefixtures("trusted")
def test_certificate_of_another_name_is_refused(run: Run, tls: ssl.SSLContext) -> None:
    async def main() -> None:
        async with (
            raw_server(say(OK), tls=tls, host="127.0.0.2") as server,
            provider_at(server.url.replace("127.0.0.1", "127.0.0.2")) as provider,
        ):
            assert (await refusal(provider)).reason == "tls_failed"

    run(main())


def test_server_that_speaks_no_tls_is_refused(run: Run) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(babble, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with provider_at(f"https://127.0.0.1:{port}/v1") as provider:
            assert (await refusal(provider)).reason in ("tls_failed", "connection_failed")
        server.close()

    run(main())


@pytest.mark.usefixtures("trusted")
def test_connection_over_tls_is_kept(run: Run, tls: ssl.SSLContext) -> None:
    body = bytes(range(256)) * 8192

    async def main() -> None:
        async with raw_server(say(sized(body)), tls=tls) as server, provider_at(server.url) as provider:
            for _ in range(5):
                assert await read_all(await provider.send(body, "req_1")) == body
                assert server.asks[-1].body == body
            assert server.connections == 1

    run(main())


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("check", PROVIDER_CHECKS, ids=lambda check: check.__name__)
def test_openai_provider_obeys_over_tls(check: Check, run: Run, tls: ssl.SSLContext) -> None:
    async def main() -> None:
        async with raw_server(say(b""), tls=tls) as server:
            await check(RawStage(server))

    run(main())


@asynccontextmanager
async def proxy(answer: bytes = b"HTTP/1.1 200 Yes\r\nVia: x\r\n\r\n") -> AsyncIterator[tuple[int, list[str]]]:
    """A proxy that answers CONNECT so and, if that is a yes, carries bytes both ways: its port, the heads it saw."""
    heads: list[str] = []
    tasks: set[asyncio.Task[None]] = set()
    opened: list[asyncio.StreamWriter] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        heads.append(head)
        host, _, port = head.split()[1].rpartition(":")
        writer.write(answer)
        if b" 200 " not in answer:
            writer.close()
            return
        upstream = await asyncio.open_connection(host, int(port))
        opened.append(upstream[1])
        tasks.add(asyncio.create_task(carry(upstream[0], writer)))
        await carry(reader, upstream[1])

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        for writer in opened:
            writer.transport.abort()
        await asyncio.sleep(0)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("by", ["setting", "environment"])
def test_a_proxy_is_asked_for_one_tunnel_and_the_connection_is_kept(
    run: Run, tls: ssl.SSLContext, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = bytes(range(256)) * 8192

    async def main() -> None:
        async with raw_server(say(sized(body)), tls=tls) as server, proxy() as (port, heads):
            url = f"http://us%3Aer:pass@127.0.0.1:{port}"
            monkeypatch.setenv("HTTPS_PROXY", url)
            monkeypatch.setenv("NO_PROXY", "example.com" if by == "environment" else "127.0.0.1")
            async with provider_at(server.url, proxy=url if by == "setting" else None) as provider:
                for _ in range(3):
                    assert await read_all(await provider.send(body, "req_1")) == body
                    assert server.asks[-1].body == body
            [head] = heads
            assert head.startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n")
            assert "Proxy-Authorization: Basic dXM6ZXI6cGFzcw==\r\n" in head
            assert "proxy-authorization" not in {name.lower() for name, _ in server.asks[-1].headers}

    run(main())


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("proxied", ["none", None])
def test_a_provider_may_be_reached_without_the_environments_proxy(
    run: Run, tls: ssl.SSLContext, proxied: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with raw_server(say(OK), tls=tls) as server, proxy() as (port, heads):
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
            monkeypatch.setenv("NO_PROXY", "" if proxied else "127.0.0.1")
            async with provider_at(server.url, proxy=proxied) as provider:
                assert await read_all(await provider.send(b"{}", "req_1")) == b"ok"
            assert not heads

    run(main())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407"),
        (b"", "closed"),
        (b"x" * 40_000, "no end"),
        (b"\r\n\r\n", "refused"),
    ],
)
def test_a_proxy_that_refuses_is_named_and_nothing_was_sent(
    run: Run, tls: ssl.SSLContext, answer: bytes, why: str
) -> None:
    async def main() -> None:
        async with raw_server(say(OK), tls=tls) as server, proxy(answer) as (port, _):
            url = f"http://u:secret@127.0.0.1:{port}"
            async with provider_at(server.url, proxy=url, max_connections=1) as provider:
                for _ in range(2):
                    refused = await refusal(provider)
                    assert (refused.reason, refused.reached) == ("connection_failed", False)
                    assert why in str(refused) and "secret" not in str(refused)
            assert not server.connections

    run(main())


def test_without_tls_the_proxy_reads_the_request(run: Run) -> None:
    async def main() -> None:
        async with raw_server(say(OK)) as server:  # the proxy itself
            url = f"http://u:p@127.0.0.1:{server.port}"
            async with provider_at("http://models.test:8000/v1", proxy=url) as provider:
                assert await read_all(await provider.send(b"{}", "req_1")) == b"ok"
            ask = server.asks[0]
            assert ask.line == "POST http://models.test:8000/v1/chat/completions HTTP/1.1"
            assert ("Host", "models.test:8000") in ask.headers
            assert ("Proxy-Authorization", "Basic dTpw") in ask.headers

    run(main())


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1", "http://", "http://u:secret@h:notaport", "https://u:secret@h"])
def test_a_proxy_that_cannot_be_used_is_refused_without_its_address(run: Run, url: str) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match=r"providers\.pool\.proxy cannot be used") as caught:
            OpenAIProvider(Endpoint("pool", "https://models.test/v1", proxy=url))
        assert "secret" not in str(caught.value)

    run(main())
