"""The guarded fetch against real listening sockets: what passes, what is refused, and what is never reached."""

from __future__ import annotations

import asyncio
import contextlib
import io
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace

import pytest
from PIL import Image

from gateway.errors import ImageError
from gateway.images.fetch import FetchedImage, FetchPolicy, ImageFetcher, look_up

PARAM = "messages[0].content[1].image_url"
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def drawn(format: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, format)
    return buffer.getvalue()


def reply(body: bytes, content_type: str = "image/png", *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers]
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    if not any(line.lower().startswith("content-length") for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return reply(b"", "", f"Location: {location}", status=status)


@dataclass
class Listener:
    """A listening socket on the loopback that remembers who came and what they asked."""

    answers: dict[str, bytes | Answer] = field(default_factory=dict)
    accepted: int = 0
    requests: list[bytes] = field(default_factory=list)
    host: str = "127.0.0.1"
    port: int = 0

    def url(self, path: str, host: str = "") -> str:
        return f"http://{host or self.host}:{self.port}{path}"

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Listener]:
        server = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def reached(self) -> int:
        """Connections accepted until now. One of our own is waited for, so that none can still be under way."""
        before = self.accepted
        _, writer = await asyncio.open_connection(self.host, self.port)
        while self.accepted == before:
            await asyncio.sleep(0.001)
        writer.close()
        self.accepted -= 1
        return self.accepted

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            while head := await _head(reader):
                self.requests.append(head)
                answer = self.answers.get(
                    head.split(b" ")[1].decode(), reply(b"", "text/plain", status="404 Not Found")
                )
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                else:
                    await answer(reader, writer)
                    return
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def policy_for(*listeners: Listener, **changes: object) -> FetchPolicy:
    hosts = frozenset(f"{listener.host}:{listener.port}" for listener in listeners)
    return replace(
        FetchPolicy(schemes=("http", "https"), allow_hosts=hosts, connect_timeout_s=60, total_timeout_s=60), **changes
    )


async def fetch(url: str, policy: FetchPolicy, resolver: Resolver | None = None) -> FetchedImage:
    fetcher = ImageFetcher(policy, look_up=resolver or look_up)
    try:
        return await fetcher.fetch(url, param=PARAM)
    finally:
        await fetcher.close()


async def refusal_of(url: str, policy: FetchPolicy, resolver: Resolver | None = None) -> ImageError:
    try:
        await fetch(url, policy, resolver)
    except ImageError as refused:
        assert refused.param == PARAM
        return refused
    pytest.fail(f"{url} was fetched")


class Resolver:
    """Answers in turn, the last one for ever, and counts."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


def run(main: Coroutine[object, object, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 120))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP"])
def test_an_image_of_an_allowed_host_is_fetched(format: str) -> None:
    async def main() -> None:
        data = drawn(format)
        async with Listener({"/a?x=1": reply(data, "image/whatever; q=1")}).listening() as server:
            url = server.url("/a?x=1")
            image = await fetch(url, policy_for(server))
            assert image == FetchedImage(data, f"image/{format.lower()}", 40, 30, url)
            assert b"Cookie" not in server.requests[0]

    run(main())


@pytest.mark.parametrize(
    ("answer", "status", "code", "says"),
    [
        (reply(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"), 415, "image_type_unsupported", "SVG"),
        (reply(b"<!doctype html>", "text/html"), 415, "image_type_unsupported", "text/html"),
        (reply(b"<!doctype html>", "image/png"), 415, "image_type_unsupported", "text/html"),
        (reply(b"%PDF-1.7", "image/png"), 415, "image_type_unsupported", "PDF"),
        (reply(drawn(), "application/octet-stream"), 415, "image_type_unsupported", "octet-stream"),
        (reply(drawn(), ""), 415, "image_type_unsupported", "no Content-Type"),
        (reply(drawn(), "image/png", "Content-Encoding: gzip"), 415, "image_type_unsupported", "gzip"),
        (reply(b"", "image/png"), 400, "invalid_image", "empty"),
        (reply(drawn()[:20], "image/png"), 400, "invalid_image", "header"),
        (reply(drawn()[:60], "image/png"), 400, "invalid_image", "cut short"),
        (reply(drawn(), "image/png", "Content-Length: 99999999999"), 413, "image_too_large", "99,999,999,999 bytes"),
        (reply(b"", "text/plain", status="404 Not Found"), 400, "image_unreachable", "404"),
        (reply(b"", "text/plain", status="500 Oops"), 400, "image_unreachable", "500"),
        (reply(drawn(), "image/png", "Content-Length: 5000"), 400, "image_unreachable", "broke off"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 400, "image_unreachable", "not HTTP"),
        (b"", 400, "image_unreachable", "connection failed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, 400, "image_unreachable", "not HTTP"),
        (redirect(""), 400, "image_unreachable", "redirects"),
        (redirect("http://["), 400, "image_unreachable", "cannot be read"),
        (redirect("file:///etc/passwd"), 400, "image_unreachable", "cannot be read"),
        (redirect("ftp://images.example/"), 400, "image_url_forbidden", "'ftp'"),
    ],
)
def test_what_is_no_image_is_refused_with_its_reason(answer: bytes, status: int, code: str, says: str) -> None:
    async def main() -> None:
        async def once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            await writer.drain()

        async with Listener({"/a": once}).listening() as server:
            refused = await refusal_of(server.url("/a"), policy_for(server))
            assert (refused.status, refused.code) == (status, code), refused.message
            assert says in refused.message

    run(main())


def test_pixels_over_the_limit_are_refused_from_the_header_without_waiting_for_the_rest() -> None:
    async def main() -> None:
        huge = bytearray(drawn())
        huge[16:24] = struct.pack(">II", 20_000, 20_000)

        async def head_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(reply(bytes(huge[:64]), "image/png", "Content-Length: 5000"))
            await reader.read()  # the rest never comes: only the refusal ends this

        async with Listener({"/a": head_only}).listening() as server:
            refused = await refusal_of(server.url("/a"), policy_for(server))
            assert (refused.status, refused.code) == (413, "image_too_large")
            assert "20000x20000" in refused.message

    run(main())


def test_an_endless_body_is_cut_at_the_limit() -> None:
    async def main() -> None:
        sent = 0

        async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n" + drawn())
            while not writer.is_closing():
                writer.write(bytes(65_536))
                sent += 65_536
                await writer.drain()

        async with Listener({"/a": endless}).listening() as server:
            refused = await refusal_of(server.url("/a"), policy_for(server, max_bytes=1_000_000))
            assert (refused.status, refused.code) == (413, "image_too_large")
            assert "at most 1,000,000" in refused.message
            assert sent < 20_000_000

    run(main())


@pytest.mark.parametrize("at_once", [0, 75], ids=["from the status line on", "from the body on"])
def test_a_server_that_drips_is_given_up_at_the_total_limit(at_once: int) -> None:
    async def main() -> None:
        whole = reply(drawn())

        async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(whole[:at_once])
            for index in range(at_once, len(whole)):
                writer.write(whole[index : index + 1])
                await asyncio.sleep(0.02 if index < len(whole) - 1 else 3_600)  # the last byte never comes

        async with Listener({"/a": drip}).listening() as server:
            refused = await refusal_of(server.url("/a"), policy_for(server, total_timeout_s=0.2))
            assert (refused.status, refused.code) == (400, "image_timeout")
            assert "0.2 s" in refused.message

    run(main())


def test_a_slow_look_up_is_given_up_at_the_total_limit() -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async def main() -> None:
        fetcher = ImageFetcher(FetchPolicy(total_timeout_s=0.1), look_up=never)
        with pytest.raises(ImageError) as refused:
            await fetcher.fetch("https://images.example/a.png")
        assert refused.value.code == "image_timeout"
        await fetcher.close()

    run(main())


def test_redirects_are_followed_and_counted() -> None:
    async def main() -> None:
        answers: dict[str, bytes | Answer] = {f"/{n}": redirect(f"/{n - 1}") for n in range(1, 6)}
        async with Listener({**answers, "/0": reply(drawn())}).listening() as server:
            assert (await fetch(server.url("/3"), policy_for(server))).url == server.url("/3")
            refused = await refusal_of(server.url("/4"), policy_for(server))
            assert refused.code == "image_unreachable"
            assert "more than 3" in refused.message
            assert len(server.requests) == 8

    run(main())


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "//169.254.169.254/",
        "http://[fd00:ec2::254]/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://0xa9fea9fe/",
        "http://localhost/",
    ],
)
def test_a_redirect_to_a_metadata_service_is_refused(location: str) -> None:
    async def main() -> None:
        async with Listener({"/a": redirect(location)}).listening() as server:
            refused = await refusal_of(server.url("/a"), policy_for(server))
            assert (refused.status, refused.code) == (400, "image_url_forbidden")
            assert "not public" in refused.message

    run(main())


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"]
)
def test_no_notation_of_a_private_address_is_connected_to_asked_or_redirected(host: str) -> None:
    async def main() -> None:
        async with Listener({"/secret": reply(drawn())}).listening() as private:
            target = private.url("/secret", host)
            async with Listener({"/a": redirect(target)}).listening() as server:
                direct = await refusal_of(target, policy_for(server))
                led = await refusal_of(server.url("/a"), policy_for(server))
                assert {direct.code, led.code} == {"image_url_forbidden"}
                assert await private.reached() == 0
                assert private.requests == []

    run(main())


def test_ipv6_loopback_is_not_connected_to() -> None:
    async def main() -> None:
        private = Listener({"/secret": reply(drawn())}, host="::1")
        try:
            async with private.listening():
                refused = await refusal_of(private.url("/secret", "[::1]"), policy_for())
                assert refused.code == "image_url_forbidden"
                assert await private.reached() == 0
        except OSError:  # no IPv6 here: then the refusal alone is shown
            refused = await refusal_of("http://[::1]:1/secret", policy_for())
            assert refused.code == "image_url_forbidden"

    run(main())


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["::1"], ["93.184.216.34", "127.0.0.1"], ["127.0.0.1", "93.184.216.34"], ["fe80::1%eth0"], ["x"]],
    ids=str,
)
def test_a_name_with_any_private_address_is_not_connected_to(addresses: list[str]) -> None:
    async def main() -> None:
        async with Listener({"/": reply(drawn())}).listening() as private:
            resolver = Resolver(addresses)
            refused = await refusal_of("http://images.example/", policy_for(), resolver)
            assert refused.code == "image_url_forbidden"
            assert resolver.asked == ["images.example"]
            assert await private.reached() == 0

    run(main())


def test_a_name_that_rebinds_is_looked_up_once_and_connected_to_what_was_judged() -> None:
    async def main() -> None:
        async with (
            Listener({"/": reply(drawn())}).listening() as judged,
            Listener({"/": reply(drawn())}, host="127.0.0.2", port=judged.port).listening() as rebound,
        ):
            resolver = Resolver([judged.host], [rebound.host])
            policy = policy_for(allow_hosts=frozenset({"images.example"}))
            await fetch(f"http://images.example:{judged.port}/", policy, resolver)
            assert resolver.asked == ["images.example"]
            assert (await judged.reached(), await rebound.reached()) == (1, 0)
            assert f"Host: images.example:{judged.port}".encode() in judged.requests[0]

    run(main())


def test_a_name_that_rebinds_between_redirects_is_judged_anew() -> None:
    async def main() -> None:
        async def close_after(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(redirect("http://other.example/b").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

        async with Listener({"/a": close_after}).listening() as server:
            resolver = Resolver(["127.0.0.1"])
            policy = policy_for(allow_hosts=frozenset({f"images.example:{server.port}"}))
            refused = await refusal_of(f"http://images.example:{server.port}/a", policy, resolver)
            assert refused.code == "image_url_forbidden"
            assert resolver.asked == ["images.example", "other.example"]
            assert await server.reached() == 1

    run(main())


def test_the_name_and_not_the_address_is_sent_in_the_tls_handshake() -> None:
    async def main() -> None:
        hello = b""

        async def take_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal hello
            hello = await reader.read(4_096)
            writer.close()

        server = await asyncio.start_server(take_hello, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        policy = FetchPolicy(allow_hosts=frozenset({f"images.example:{port}"}))
        refused = await refusal_of(f"https://images.example:{port}/", policy, Resolver(["127.0.0.1"]))
        assert refused.code == "image_unreachable"
        assert b"images.example" in hello
        server.close()

    run(main())


def test_refusals_do_not_tell_an_open_private_port_from_a_closed_one() -> None:
    async def main() -> None:
        async with Listener().listening() as private:
            closed = Listener()
            async with closed.listening():
                pass
            texts = [
                (await refusal_of(server.url("/"), policy_for())).message.replace(str(server.port), "PORT")
                for server in (private, closed)
            ]
            assert texts[0] == texts[1]
            assert await private.reached() == 0

    run(main())


def test_a_port_is_allowed_only_with_the_host_that_the_operator_names() -> None:
    async def main() -> None:
        refused = await refusal_of("https://93.184.216.34:8443/", FetchPolicy())
        assert refused.code == "image_url_forbidden"
        assert "port 8443" in refused.message

    run(main())
    named = FetchPolicy(allow_hosts=frozenset({"Images.Example", "10.0.0.1:9000", "[::1]:9000"}))
    assert named.allows("images.example", 1234)
    assert named.allows("10.0.0.1", 9000)
    assert not named.allows("10.0.0.1", 9001)
    assert named.allows("::1", 9000)


def test_plain_http_is_refused_unless_the_policy_takes_it() -> None:
    async def main() -> None:
        refused = await refusal_of("http://images.example/a.png?secret=1", FetchPolicy())
        assert (refused.status, refused.code) == (400, "image_url_forbidden")
        assert "'http'" in refused.message
        assert "secret" not in refused.message

    run(main())


def test_no_refusal_echoes_credentials_a_query_or_a_long_url() -> None:
    async def main() -> None:
        for url in (
            "https://user:hunter2@images.example/",
            "https://images.example\\@hunter2/",
            "https://127.0.0.1/?key=hunter2",
            "https://127.0.0.1/" + "a" * 1_000 + "hunter2",
            "hunter2",
        ):
            refused = await refusal_of(url, FetchPolicy())
            assert refused.status == 400
            assert "hunter2" not in refused.message
            assert len(refused.message) < 320

    run(main())


def test_a_name_that_is_not_known_is_told_plainly() -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError(-2, "Name or service not known")

    async def main() -> None:
        fetcher = ImageFetcher(FetchPolicy(), look_up=unknown)
        with pytest.raises(ImageError, match="not known") as refused:
            await fetcher.fetch("https://images.example/a.png")
        assert refused.value.code == "image_unreachable"
        await fetcher.close()

    run(main())


def test_a_closed_port_of_an_allowed_host_is_unreachable() -> None:
    async def main() -> None:
        closed = Listener()
        async with closed.listening():
            pass
        refused = await refusal_of(closed.url("/"), policy_for(closed))
        assert (refused.status, refused.code) == (400, "image_unreachable")

    run(main())


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with Listener().listening() as proxy, Listener({"/a": reply(drawn())}).listening() as server:
            for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
                monkeypatch.setenv(name, proxy.url(""))
            await fetch(server.url("/a"), policy_for(server))
            assert await proxy.reached() == 0

    run(main())


def test_cookies_are_not_kept() -> None:
    async def main() -> None:
        answers: dict[str, bytes | Answer] = {"/a": reply(drawn(), "image/png", "Set-Cookie: a=b")}
        async with Listener(answers).listening() as server:
            fetcher = ImageFetcher(policy_for(server))
            for _ in range(2):
                await fetcher.fetch(server.url("/a"))
            assert all(b"cookie" not in head.lower() for head in server.requests)
            assert server.accepted == 1  # the connection is kept, though
            await fetcher.close()

    run(main())


def test_no_more_than_the_limit_are_fetched_at_once() -> None:
    async def main() -> None:
        under_way, most = 0, 0
        two = asyncio.Event()

        async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            if most == 2:
                two.set()
            await two.wait()
            await asyncio.sleep(0.01)  # for a third, were it let in
            under_way -= 1
            writer.write(reply(drawn()))
            await writer.drain()

        async with Listener({"/a": slow}).listening() as server:
            fetcher = ImageFetcher(policy_for(server, max_concurrent=2))
            await asyncio.gather(*(fetcher.fetch(server.url("/a")) for _ in range(8)))
            assert most == 2
            await fetcher.close()

    run(main())


def test_a_fetch_that_is_cancelled_leaves_its_slot() -> None:
    async def main() -> None:
        started = asyncio.Event()

        async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            started.set()
            await reader.read()

        async with Listener({"/hang": hang, "/a": reply(drawn())}).listening() as server:
            fetcher = ImageFetcher(policy_for(server, max_concurrent=1))
            task = asyncio.create_task(fetcher.fetch(server.url("/hang")))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await fetcher.fetch(server.url("/a"))).width == 40
            await fetcher.close()

    run(main())
