"""An encoder without a network: vectors drawn from a hash of the content, under fused-lite's view names."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.base import EncodeError, ImageSource, Views

from .clock import HandClock

SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"RIFF")


class FakeEncoder:
    """Implements `models.base.Encoder`; blocks `delay_s` a call, and raises EncodeError always if it shall fail.

    `text_batches` and `image_batches` hold what each call was given.
    """

    name = "fake"
    digest = hashlib.sha256(b"fake encoder").hexdigest()
    text_dims: Mapping[str, int] = {"text": 384}
    image_dims: Mapping[str, int] = {"image": 384, "image_features": 1280}

    def __init__(self, delay_s: float = 0.0, fail: bool = False) -> None:
        self._delay_s = delay_s
        self._fail = fail
        self.text_batches: list[list[str]] = []
        self.image_batches: list[list[bytes]] = []

    def encode_texts(self, texts: Sequence[str]) -> Views:
        self.text_batches.append(list(texts))
        self._take_time()
        return _views([text.encode("utf-8", "replace") for text in texts], self.text_dims)

    def encode_images(self, images: Sequence[bytes]) -> Views:
        self.image_batches.append(list(images))
        self._take_time()
        if not all(image.startswith(SIGNATURES) for image in images):
            raise EncodeError("the image cannot be decoded: no known signature")
        return _views(images, self.image_dims)

    def _take_time(self) -> None:
        if self._delay_s:
            time.sleep(self._delay_s)
        if self._fail:
            raise EncodeError("the fake encoder was told to fail")


class FakeQueryEncoder:
    """Implements `gateway.routing.forecaster.QueryEncoder`, without a cache: each call turns the clock by `encode_s`.

    It raises EncodeError if it shall fail. `asked` holds the texts of all calls.
    """

    def __init__(self, clock: HandClock, encode_s: float = 0.0, *, fail: bool = False) -> None:
        self._clock = clock
        self._encode_s = encode_s
        self._fail = fail
        self.asked: list[str] = []

    def cached(self, text: str, images: Sequence[ImageSource]) -> Views | None:
        return None

    async def encode(self, text: str, images: Sequence[ImageSource]) -> Views:
        self.asked.append(text)
        self._clock.turn(self._encode_s)
        if self._fail:
            raise EncodeError("the fake encoder was told to fail")
        return _views([text.encode()], FakeEncoder.text_dims)


@dataclass(frozen=True)
class FakeImage:
    """An image in memory: `models.base.ImageSource`."""

    data: bytes

    @property
    def key(self) -> bytes:
        return hashlib.sha256(self.data).digest()

    def read(self) -> bytes:
        return self.data


def _views(contents: Sequence[bytes], dims: Mapping[str, int]) -> Views:
    views: Views = {}
    for view, dimension in dims.items():
        rows = [_row(content, dimension) for content in contents]
        views[view] = np.array(rows, dtype=np.float32).reshape(len(rows), dimension)
    return views


def _row(content: bytes, dimension: int) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(content).digest()[:8])
    row = np.random.default_rng(seed).normal(size=dimension)
    return row / np.linalg.norm(row)
