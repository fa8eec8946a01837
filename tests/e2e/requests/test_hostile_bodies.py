"""Bodies that no well-meaning client sends: each a clear 4xx, nothing sent, nothing spent, no trace, no secret kept."""

from __future__ import annotations

import base64
import gzip
import json
import random
import socket
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.harness.pictures import data_url, moving_gif, picture, png_that_claims
from tests.e2e.harness.scripted_provider import ScriptedProvider
from tests.e2e.harness.scripts import refuse
from tests.e2e.harness.site import KEY, Site, serving_gateway, settings_for

HELLO = [{"role": "user", "content": "How many?"}]
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
DEEP = 100_000


def with_image(url: Any, **more: Any) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": url, **more}}
    return {"model": "auto", "messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, part]}]}


NOT_JSON = [
    b"",
    b"model=auto",
    b"{",
    b"nul",
    b'{"model": "auto", "messages": [}',
    b'{"model": "auto"} trailing',
    b"\xff\xfe{}",
    b'\xef\xbb\xbf{"model": "auto"}',
    b'{"model": "\xff\xfe", "messages": []}',
    b"{'model': 'auto'}",
    gzip.compress(b'{"model": "auto"}'),
    b'{"model": NaN}',
    b'{"model": "auto", "messages": [{"role": "user", "content": "x"}], "user": "\xff\xfe"}',
    b'{"model": "auto", "messages": [{"role": "user", "content": "x", "name": "\xc3("}]}',
]
WRONG_VALUES: dict[str, list[Any]] = {
    "stream": ["yes", 1, [], {}],
    "stream_options": ["yes", [], True],
    "n": [0, -1, 129, 1.5, "2", True, 10**30, []],
    "max_tokens": [0, -5, 1.5, "9", 10**30, {}],
    "max_completion_tokens": [0, 10**12, "x"],
}
WRONG_TYPES: list[Any] = [
    [],
    "auto",
    7,
    None,
    {},
    {"model": "auto"},
    {"messages": HELLO},
    {"model": None, "messages": HELLO},
    {"model": ["auto"], "messages": HELLO},
    {"model": "", "messages": HELLO},
    {"model": "auto", "messages": None},
    {"model": "auto", "messages": []},
    {"model": "auto", "messages": {}},
    {"model": "auto", "messages": "How many?"},
    {"model": "auto", "messages": [None]},
    {"model": "auto", "messages": ["How many?"]},
    {"model": "auto", "messages": [[]]},
    {"model": "auto", "messages": [{}]},
    {"model": "auto", "messages": [{"role": 5, "content": "x"}]},
    {"model": "auto", "messages": [{"role": "user", "content": 5}]},
    {"model": "auto", "messages": [{"role": "user", "content": {"type": "text", "text": "x"}}]},
    {"model": "auto", "messages": [{"role": "user", "content": [5]}]},
    {"model": "auto", "messages": [{"role": "user", "content": [{}]}]},
    {"model": "auto", "messages": [{"role": "user", "content": [{"type": "text"}]}]},
    {"model": "auto", "messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
    {"model": "auto", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    {"model": "auto", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
    {"model": "auto", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
    with_image(None),
    with_image(5),
    with_image(["http://x/"]),
    with_image(data_url(picture()), detail="huge"),
    with_image(data_url(picture()), detail=5),
    *({"model": "auto", "messages": HELLO, name: value} for name, values in WRONG_VALUES.items() for value in values),
]
BROKEN_IMAGES: dict[str, tuple[int, bytes, str]] = {
    "twenty-thousand-pixels-a-side": (413, png_that_claims(20_000, 20_000), "image/png"),
    "four-billion-pixels-a-side": (413, png_that_claims(2**31 - 1, 2**31 - 1), "image/png"),
    "no-pixels": (415, png_that_claims(0, 0), "image/png"),
    "truncated-png": (400, picture(size=(300, 300))[:-40], "image/png"),
    "png-signature-alone": (400, b"\x89PNG\r\n\x1a\n", "image/png"),
    "half-a-png-header": (400, picture()[:20], "image/png"),
    "svg": (415, SVG, "image/svg+xml"),
    "html": (415, b"<!doctype html><html><body>hi</body></html>", "image/png"),
    "pdf": (415, b"%PDF-1.7 nothing", "image/png"),
    "bmp": (415, picture("BMP"), "image/bmp"),
    "tiff": (415, picture("TIFF"), "image/tiff"),
    "ico": (415, picture("ICO"), "image/x-icon"),
    "noise": (415, random.Random(0).randbytes(5000), "image/png"),
    "text": (415, b"hello", "text/plain"),
}
BROKEN_URLS = [
    "",
    "data:",
    "data:,",
    "data:image/png",
    "data:image/png;base64",
    "data:image/png;base64,",
    "data:image/png;base64,!!!!",
    "data:image/png,plain",
    "data:text/html;base64,PGI+aGk8L2I+",
    "data:image/png;base64," + "A" * 4001,
    "DATA:image/png;base64,\u00e9\u00e9\u00e9\u00e9",
    "no-url",
    "//example.com/a.png",
    "file:///etc/passwd",
    "ftp://example.com/a.png",
    "gopher://127.0.0.1:6379/_INFO",
    "javascript:alert(1)",
    "http://",
    "http:///a.png",
    "http://[::1",
    "http://a b/",
    "http://example.com:99999/a.png",
    "\u0000",
    "http://ex\u0000ample.com/",
]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/route"])
def test_body_that_is_no_json_is_400(shared_site: Site, provider: ScriptedProvider, path: str) -> None:
    for body in NOT_JSON:
        answer = shared_site.call("POST", path, body)
        assert answer.status == 400, body
        assert answer.error["code"] in ("invalid_json", None, "missing_required_parameter"), body
    assert not provider.calls


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/route"])
def test_members_of_a_wrong_type_are_4xx_that_name_the_member(
    shared_site: Site, provider: ScriptedProvider, path: str
) -> None:
    for body in WRONG_TYPES:
        answer = shared_site.call("POST", path, json.dumps(body).encode())
        assert answer.status in (400, 404), (body, answer)
        assert answer.error["param"] or not isinstance(body, dict), (body, answer.error)
    assert not provider.calls


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEP,
        b"[" * DEEP + b"]" * DEEP,
        b'{"model":' * DEEP,
        b'{"model": "auto", "messages": ' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"model": "auto", "messages": [{"role": "user", "content": ' + b"[" * DEEP + b"]" * DEEP + b"}]}",
        b'{"model": "auto", "messages": [{"role": "user", "content": "x"}], "x": '
        + b'{"a":' * DEEP
        + b"1"
        + b"}" * DEEP
        + b"}",
        b'{"model": "auto", "messages": [{"role": "user", "content": "x"}], "stream_options": {"a": '
        + b"[" * DEEP
        + b"]" * DEEP
        + b"}}",
    ],
    ids=["open", "closed", "objects", "messages", "content", "unknown-member", "stream-options"],
)
def test_deep_nesting_is_400(shared_site: Site, provider: ScriptedProvider, body: bytes) -> None:
    answer = shared_site.chat(body)
    assert answer.status == 400
    assert len(answer.error["message"]) < 200
    assert not provider.calls


@pytest.mark.parametrize("depth", [300, 900, 990, 1000, 1100, 3000])
def test_nesting_beside_an_image_url_is_refused_or_sent_on_whole(
    shared_site: Site, provider: ScriptedProvider, depth: int
) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    body = json.dumps(with_image("http://127.0.0.1:1/a.png"))[:-1] + f', "x": {deep}}}'
    assert shared_site.chat(body.encode()).status == 400
    body = json.dumps(with_image(data_url(picture()))).replace('"type": "text"', f'"x": {deep}, "type": "text"')
    answer = shared_site.chat(body.encode())
    assert answer.status in (200, 400)
    if answer.status == 200:
        assert deep.encode() in provider.calls[0].body


@pytest.mark.slow
def test_body_of_40_mb_is_413_with_and_without_its_length(shared_site: Site, provider: ScriptedProvider) -> None:
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "x" * 40_000_000}]}).encode()
    declared = _send_slowly(shared_site, [b"Content-Length: %d\r\n\r\n" % len(body), body])
    assert b" 413 " in declared.split(b"\r\n")[0]
    assert b"body_too_large" in declared
    chunked = [b"Transfer-Encoding: chunked\r\n\r\n"]
    chunked += [b"%x\r\n%b\r\n" % (len(p), p) for p in (body[i : i + 2**20] for i in range(0, len(body), 2**20))]
    undeclared = _send_slowly(shared_site, chunked)
    assert b" 413 " in undeclared.split(b"\r\n")[0]
    assert not provider.calls
    with shared_site.client() as client, pytest.raises(openai.APIError):
        client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "x" * 40_000_000}])
    assert shared_site.chat({"model": "auto", "messages": HELLO}).status == 200


@pytest.mark.parametrize("name", BROKEN_IMAGES)
def test_what_is_no_whole_image_is_refused(shared_site: Site, provider: ScriptedProvider, name: str) -> None:
    status, data, media_type = BROKEN_IMAGES[name]
    for path in ("/v1/chat/completions", "/v1/route"):
        answer = shared_site.call("POST", path, with_image(data_url(data, media_type)))
        assert (answer.status, answer.error["param"]) == (status, "messages[0].content[1].image_url.url")
        assert len(answer.error["message"]) < 300
    assert not provider.calls


@pytest.mark.parametrize("url", BROKEN_URLS, ids=range(len(BROKEN_URLS)))
def test_what_is_no_image_url_is_refused(shared_site: Site, provider: ScriptedProvider, url: str) -> None:
    answer = shared_site.chat(with_image(url))
    assert answer.status in (400, 415), answer
    assert answer.error["param"] == "messages[0].content[1].image_url.url"
    assert len(answer.error["message"]) < 400
    assert not provider.calls


@pytest.mark.parametrize(
    "data", [picture("GIF"), moving_gif(), picture("WEBP"), picture("JPEG"), picture("PNG", (1, 1))]
)
def test_images_that_are_taken(shared_site: Site, provider: ScriptedProvider, data: bytes) -> None:
    assert shared_site.chat(with_image(data_url(data))).status == 200
    assert base64.b64encode(data) in provider.calls[0].body


def test_more_images_than_allowed_are_refused(shared_site: Site) -> None:
    part = {"type": "image_url", "image_url": {"url": data_url(picture(size=(2, 2)))}}
    body = {"model": "auto", "messages": [{"role": "user", "content": [part] * 33}]}
    assert shared_site.chat(body).error["code"] == "too_many_images"


def test_compressed_body_is_415(shared_site: Site) -> None:
    body = gzip.compress(json.dumps({"model": "auto", "messages": HELLO}).encode())
    assert shared_site.chat(body, Content_Encoding="gzip").status == 415


@pytest.mark.slow
def test_bodies_broken_at_random_never_break_the_gateway(shared_site: Site) -> None:
    draw = random.Random(20_260_101)
    good = json.dumps({**with_image(data_url(picture(size=(9, 9)))), "n": 2, "stream_options": {"include_usage": True}})
    for _ in range(400):
        body = bytearray(good.encode())
        for _ in range(draw.choice((1, 1, 2, 5))):
            at = draw.randrange(len(body))
            action = draw.randrange(3)
            if action == 0:
                body[at] = draw.randrange(256)
            elif action == 1:
                del body[at : at + draw.randrange(1, 30)]
            else:
                body[at:at] = draw.choice((b'"', b"{", b"]", b"\\u0000", b"\\ud800", b"null", b"-1e999", b"\xc3"))
        answer = shared_site.chat(bytes(body))
        assert answer.status in (200, 400, 404, 413, 415), bytes(body)
        if answer.status != 200:
            assert answer.error


def test_neither_keys_nor_images_nor_texts_are_kept(provider: ScriptedProvider, tmp_path: Path) -> None:
    image = data_url(picture(size=(200, 200)))
    with serving_gateway(settings_for(tmp_path, provider.url), tmp_path) as site:
        body = with_image(image)
        body["messages"][0]["content"][0]["text"] = "a very private question"
        provider.on("large", refuse(500, f"I was sent {image[:60]} by {KEY}"))
        answers = [site.chat(body), site.chat({**body, "stream": True}), site.chat(with_image(image[:-200]))]
        answers.append(site.chat({"model": "no-such", "messages": HELLO}, key="sk-a-stranger-s-key-12345"))
        assert [answer.status for answer in answers] == [200, 200, 400, 401]
        site.ledger.last_outcome(2)
        log = site.log
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir()) + "\n".join(log).encode()
    assert site.request_log.read_text().count("\n") == 2
    for secret in (KEY, "stranger-s-key", "private question", image.partition(",")[2][:40], "base64", "iVBOR"):
        assert secret.encode() not in kept, secret


def _send_slowly(site: Site, pieces: list[bytes]) -> bytes:
    """Send as far as the server lets us; what it answers."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n" % KEY.encode()
    received = b""
    with socket.create_connection((site.host, site.port), timeout=60) as connection:
        try:
            for piece in [head, *pieces]:
                connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough
        connection.settimeout(60)
        while b"}" not in received:
            data = connection.recv(65_536)
            if not data:
                break
            received += data
    return received
