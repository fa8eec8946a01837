"""Images that came as URLs: fetched, put into the request in their bytes, and the rest left as it was."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.api.parse.chat import ChatLimits, parse_chat
from gateway.errors import ImageError, RequestError
from gateway.images.data_url import ImageLimits
from gateway.pipeline.chat_request import ChatRequest
from gateway.pipeline.remote_images import RemoteImages

URL = "https://example.com/a.png"


@dataclass(frozen=True)
class File:
    """Implements `gateway.pipeline.remote_images.Download`."""

    data: bytes
    media_type: str = "image/png"
    width: int = 40
    height: int = 30


@dataclass
class Library:
    """Implements `gateway.pipeline.remote_images.Fetcher` over a dictionary."""

    files: dict[str, File]
    asked: list[str] = field(default_factory=list)

    async def fetch(self, url: str, *, param: str | None = None) -> File:
        self.asked.append(url)
        if url not in self.files:
            raise ImageError("not there", param=param, code="image_unreachable")
        return self.files[url]


def image(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def request_of(messages: list[dict[str, Any]] | bytes) -> ChatRequest:
    raw = messages if isinstance(messages, bytes) else json.dumps(messages).encode()
    return parse_chat(b'{"model":"auto","messages":' + raw + b"}", {}, ChatLimits(ImageLimits(), 8))


def completed(request: ChatRequest, library: Library) -> ChatRequest:
    return asyncio.run(RemoteImages(library).fetch(request))


def test_a_request_without_urls_is_left_alone() -> None:
    library = Library({})
    request = request_of([{"role": "user", "content": "hi"}])
    assert completed(request, library) is request
    assert library.asked == []


def test_a_url_becomes_the_bytes_that_were_fetched() -> None:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "\u00e4"}, image(URL, detail="low")], "name": "bob"}
    ]
    found = completed(request_of(messages), Library({URL: File(b"png")}))
    inline = f"data:image/png;base64,{base64.b64encode(b'png').decode()}"
    expected = [{**messages[0], "content": [{"type": "text", "text": "\u00e4"}, image(inline, detail="low")]}]
    assert json.loads(bytes(found.fields["messages"])) == expected
    assert found.remote == ()
    [priced], [encoded] = found.query.images, found.images
    assert (priced.width, priced.height, priced.detail) == (40, 30, "low")
    assert encoded.read() == b"png"
    assert encoded.key == priced.key


def test_only_the_last_turns_images_are_encoded_and_all_are_priced() -> None:
    other = "https://example.com/b.png"
    messages = [{"role": "user", "content": [image(URL)]}, {"role": "user", "content": [image(other)]}]
    found = completed(request_of(messages), Library({URL: File(b"one"), other: File(b"two", width=7)}))
    assert [priced.width for priced in found.query.images] == [40, 7]
    assert [encoded.read() for encoded in found.images] == [b"two"]


def test_an_image_that_can_not_be_had_names_its_place() -> None:
    messages = [{"role": "user", "content": [image(URL)]}, {"role": "user", "content": [image("https://x/y")]}]
    with pytest.raises(ImageError) as refusal:
        completed(request_of(messages), Library({URL: File(b"one")}))
    assert refusal.value.param == "messages[1].content[0].image_url.url"


@pytest.mark.parametrize("odd", [b"1e400", b"1" * 6_000, b"[" * 3_000 + b"]" * 3_000], ids=["huge", "long", "deep"])
def test_odd_members_beside_a_url_are_refused_and_break_nothing(odd: bytes) -> None:
    content = json.dumps([image(URL)]).encode()
    with pytest.raises(RequestError) as refusal:
        completed(request_of(b'[{"role":"user","content":%s,"x":%s}]' % (content, odd)), Library({URL: File(b"png")}))
    assert refusal.value.code == "invalid_json"
