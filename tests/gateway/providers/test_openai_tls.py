"""The provider over TLS: whom it trusts, and that nothing else changes. `self_signed.pem` is of the tests alone."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from tests.checks.provider_checks import PROVIDER_CHECKS, Check, read_all, refusal

from .conftest import Run
from .pooled import OK
from .raw_server import provider_at, raw_server, say, sized
from .test_openai_checks import RawStage

pytestmark = pytest.mark.slow  # all the laws again, over TLS
CERTIFICATE = Path(__file__).with_name("self_signed.pem")


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
