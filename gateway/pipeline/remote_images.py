"""Images that came as URLs: fetched once, under guard, and sent on as data URLs.

The candidate sees exactly the bytes that were checked. No provider receives a URL, so no provider can be made to fetch
a private address, and routing, price and answer all concern the same bytes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from gateway.errors import InvalidRequest
from gateway.pipeline.chat_request import ChatRequest, FetchedBytes
from gateway.routing.query import QueryImage


class Download(Protocol):
    """A fetched image file."""

    @property
    def data(self) -> bytes: ...
    @property
    def media_type(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


class Fetcher(Protocol):
    async def fetch(self, url: str, *, param: str | None = None) -> Download:
        """Fetch an image. Raises ImageError, naming `param`."""
        ...


class RemoteImages:
    """A service that completes requests whose images are not fetched yet."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    async def fetch(self, request: ChatRequest) -> ChatRequest:
        """Return the request with the bytes of every image. Raises ImageError, naming the message part at fault."""
        if not request.remote:
            return request
        downloads = await _all_or_none([self._fetcher.fetch(i.url, param=i.param) for i in request.remote])
        return await asyncio.to_thread(_with_images, request, downloads)


async def _all_or_none(fetches: Sequence[Coroutine[Any, Any, Download]]) -> Sequence[Download]:
    """Fetch concurrently; when one fetch is refused, cancel the others."""
    tasks = [asyncio.ensure_future(fetch) for fetch in fetches]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _with_images(request: ChatRequest, downloads: Sequence[Download]) -> ChatRequest:
    try:
        messages = json.loads(bytes(request.fields["messages"]))
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, or nested too deeply
        raise InvalidRequest(f"messages cannot be read: {error}", param="messages", code="invalid_json") from None
    priced, encoded = list(request.query.images), list(request.images)
    for image, download in zip(request.remote, downloads, strict=True):
        inline = f"data:{download.media_type};base64,{base64.b64encode(download.data).decode()}"
        messages[image.message]["content"][image.part]["image_url"]["url"] = inline
        key = hashlib.sha256(download.data).digest()
        priced.append(QueryImage(download.width, download.height, image.detail, key))
        if image.encoded:
            encoded.append(FetchedBytes(download.data, key))
    try:
        written = json.dumps(messages, allow_nan=False).encode()
    except ValueError:  # 1e400 is read as infinity, which JSON cannot express
        raise InvalidRequest("messages: a number is out of range", param="messages", code="invalid_json") from None
    return request._replace(
        fields={**request.fields, "messages": written},
        query=request.query._replace(images=tuple(priced)),
        images=tuple(encoded),
        remote=(),
    )
