"""Image URLs that a stranger chose: nothing private is ever connected to, which listening sockets prove."""

from __future__ import annotations

import base64
import contextlib
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.harness.picture_server import PICTURE, serving_pictures
from tests.e2e.harness.pictures import moving_gif
from tests.e2e.harness.scripted_provider import ScriptedProvider
from tests.e2e.harness.site import Answer, Site, serving_gateway, settings_for

PARAM = "messages[0].content[1].image_url.url"
NAMES = {
    "private.example": ["10.0.0.7"],
    "loopback.example": ["127.0.0.1"],
    "loopback6.example": ["::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "mixed.example": ["93.184.216.34", "127.0.0.1"],
    "unspecified.example": ["0.0.0.0"],
    "carrier.example": ["100.64.0.1"],
    "local6.example": ["fd00:ec2::254"],
}
"""What the resolver answers; it knows no other name."""
LOOPBACK_HOSTS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0x0.0x0.0x1",
    "0177.0.0.1",
    "017700000001",
    "0x7f.1",
    "127.0.0.1.",
    "0",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "loopback.example",
    "loopback6.example",
    "mapped.example",
    "mixed.example",
    "unspecified.example",
    "example.com@127.0.0.1",
    "example.com:80@localhost",
    "127\u30020\u30020\u30021",
    "\u2460\u2461\u2466.0.0.1",
    "%31%32%37.0.0.1",
    "127.0.0.1%00.example.com",
    "127.0.0.1\\@example.com",
    "127.0.0.1#@example.com",
    "127.0.0.1\t",
]
"""Ways to write this machine; each is tried with and without a port."""
PRIVATE_URLS = [
    "http://10.0.0.1/a.png",
    "http://172.16.0.1/a.png",
    "http://192.168.1.1/a.png",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/latest/meta-data/",
    "http://0xa9fea9fe/latest/meta-data/",
    "http://0251.0376.0251.0376/",
    "http://[::ffff:169.254.169.254]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25lo]/",
    "http://[fd00:ec2::254]/",
    "http://100.64.0.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://private.example/",
    "http://metadata.example/",
    "http://carrier.example/",
    "http://local6.example/",
    "https://metadata.example/",
    "http://metadata.google.internal/computeMetadata/v1/",
]


@dataclass(frozen=True)
class Trap:
    """Sockets that listen where nothing must connect."""

    port: int
    sockets: tuple[socket.socket, ...]

    def assert_untouched(self) -> None:
        for each in self.sockets:
            with pytest.raises(BlockingIOError):
                each.accept()


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    """On one free port of 127.0.0.1 and ::1, and on their ports 80 and 443 where this user may listen there."""
    first = _listen(socket.AF_INET, "127.0.0.1", 0)
    port = first.getsockname()[1]
    opened = [first]
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for number in (port, 80, 443):
            with contextlib.suppress(OSError):
                opened.append(_listen(family, host, number))
    yield Trap(port, tuple(opened))
    for each in opened:
        each.close()


@pytest.fixture(scope="module")
def pictures() -> Iterator[int]:
    """The port of an image server on 127.0.0.1 that the operator allows."""
    with serving_pictures() as port:
        yield port


@pytest.fixture(scope="module")
def url_site(
    shared_provider: ScriptedProvider, pictures: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("urls")
    images = {"schemes": ["http", "https"], "allow_hosts": [f"127.0.0.1:{pictures}"], "timeout_s": 5, "max_mb": 0.5}
    raw = settings_for(folder, shared_provider.url, images=images)
    with serving_gateway(raw, folder, look_up=_look_up) as found:
        yield found
        found.assert_no_trace()
        found.ledger.assert_settled()


@pytest.mark.parametrize("host", LOOPBACK_HOSTS)
def test_this_machine_is_not_fetched_from_however_it_is_written(
    url_site: Site, provider: ScriptedProvider, trap: Trap, host: str
) -> None:
    for url in (f"http://{host}:{trap.port}/a.png", f"http://{host}/a.png", f"https://{host}/a.png"):
        _assert_refused(_ask(url_site, url), url)
    trap.assert_untouched()
    assert not provider.calls


@pytest.mark.parametrize("url", PRIVATE_URLS)
def test_private_networks_are_not_fetched_from(url_site: Site, provider: ScriptedProvider, url: str) -> None:
    _assert_refused(_ask(url_site, url), url)
    assert not provider.calls


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:{trap}/",
        "http://[::1]:{trap}/",
        "//127.0.0.1:{trap}/",
        "http://localhost:{trap}/",
        "http://2130706433:{trap}/",
        "http://loopback.example/",
        "http://metadata.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{trap}/",
        "http://\x01/",
    ],
)
def test_redirect_to_what_is_private_is_not_followed(
    url_site: Site, provider: ScriptedProvider, pictures: int, trap: Trap, target: str
) -> None:
    url = f"http://127.0.0.1:{pictures}/to?{target.format(trap=trap.port)}"
    _assert_refused(_ask(url_site, url), url)
    trap.assert_untouched()
    assert not provider.calls


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/page", 415, "image_type_unsupported"),
        ("/page-as-image", 415, "image_type_unsupported"),
        ("/svg", 415, "image_type_unsupported"),
        ("/no-type", 415, "image_type_unsupported"),
        ("/gzip", 415, "image_type_unsupported"),
        ("/gone", 400, "image_unreachable"),
        ("/loop", 400, "image_unreachable"),
        ("/nothing", 400, "invalid_image"),
        ("/truncated", 400, "invalid_image"),
        ("/broken-off", 400, "image_unreachable"),
        ("/huge", 413, "image_too_large"),
        ("/says-huge", 413, "image_too_large"),
        ("/pixels", 413, "image_too_large"),
        pytest.param("/never", 400, "image_timeout", marks=pytest.mark.slow),
    ],
)
def test_what_is_no_image_at_its_url_is_refused(
    url_site: Site, provider: ScriptedProvider, pictures: int, path: str, status: int, code: str
) -> None:
    answer = _ask(url_site, f"http://127.0.0.1:{pictures}{path}?token=secret-in-the-query")
    assert (answer.status, answer.error["code"], answer.error["param"]) == (status, code, PARAM)
    assert "secret" not in answer.error["message"]
    assert not provider.calls


@pytest.mark.parametrize("path", ["/picture", "/gif", "/to?/picture", "/to?/to?/picture"])
def test_image_at_an_allowed_host_reaches_the_candidate_as_data(
    url_site: Site, provider: ScriptedProvider, pictures: int, path: str
) -> None:
    answer = _ask(url_site, f"http://127.0.0.1:{pictures}{path}")
    assert answer.status == 200
    url = provider.calls[0].json["messages"][0]["content"][1]["image_url"]["url"]
    media_type, _, payload = url.partition(";base64,")
    data = moving_gif() if path == "/gif" else PICTURE
    assert (media_type, base64.b64decode(payload)) == (f"data:image/{'gif' if path == '/gif' else 'png'}", data)


def test_allowing_a_port_allows_no_other(url_site: Site, trap: Trap) -> None:
    url = f"http://127.0.0.1:{trap.port}/picture"
    _assert_refused(_ask(url_site, url), url)
    trap.assert_untouched()


def test_one_bad_image_among_good_ones_refuses_the_request(
    url_site: Site, provider: ScriptedProvider, pictures: int, trap: Trap
) -> None:
    good = {"type": "image_url", "image_url": {"url": f"http://127.0.0.1:{pictures}/picture"}}
    bad = {"type": "image_url", "image_url": {"url": f"http://127.0.0.1:{trap.port}/picture"}}
    body = {"model": "auto", "messages": [{"role": "user", "content": [good, bad, good]}]}
    answer = url_site.chat(body)
    assert (answer.status, answer.error["param"]) == (400, "messages[0].content[1].image_url.url")
    trap.assert_untouched()
    assert not provider.calls


def _assert_refused(answer: Answer, url: str) -> None:
    assert answer.status == 400, (url, answer)
    assert answer.error["param"] == PARAM
    assert answer.error["code"] in ("image_url_forbidden", "invalid_image_url", "image_unreachable"), (url, answer)


def _ask(site: Site, url: str) -> Answer:
    content: list[Any] = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
    return site.chat({"model": "auto", "messages": [{"role": "user", "content": content}]})


def _listen(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(8)
    except OSError:
        found.close()
        raise
    found.setblocking(False)
    return found


async def _look_up(host: str, port: int) -> Sequence[str]:
    if host not in NAMES:
        raise OSError("no such name")
    return NAMES[host]
