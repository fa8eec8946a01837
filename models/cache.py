"""The encoder of queries that the gateway uses: a bounded cache by content in front of a batched encoder."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from models.base import Encoder, ImageSource, Views
from models.batching import BatchedEncoder


@dataclass(frozen=True, slots=True)
class EncoderStats:
    """Counts since the start. Hits and misses count texts and images, not queries.

    Attributes:
        hits: texts and images found in the cache.
        misses: texts and images that were encoded, or that another query was having encoded.
        waiting: texts and images that wait for a thread now.
        batch_sizes: size of batch -> the number of started batches.
    """

    hits: int
    misses: int
    waiting: int
    batch_sizes: Mapping[int, int]

    @property
    def batches(self) -> int:
        return sum(self.batch_sizes.values())


class QueryEncoder:
    """An encoder of queries: one text and any number of images; each view is [1, dimension], read-only.

    Several images are averaged; only the first `max_images` count. Without images, the image views are zero rows. A
    query without text is encoded as the empty text. A `QueryEncoder` belongs to one event loop.

    `threads` batches run at once, each on the threads that the encoder was loaded with.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        cache_entries: int = 4096,
        max_batch: int = 8,
        threads: int = 1,
        max_images: int = 4,
        max_queue: int = 256,
    ) -> None:
        self._encoder = encoder
        self._batched = BatchedEncoder(encoder, threads=threads, max_batch=max_batch, max_queue=max_queue)
        self._cache = _Cache(cache_entries)
        self._max_images = max_images
        self._no_images = _frozen({view: np.zeros((1, dim)) for view, dim in encoder.image_dims.items()})
        self._hits = 0
        self._misses = 0

    @property
    def name(self) -> str:
        return self._encoder.name

    @property
    def digest(self) -> str:
        return self._encoder.digest

    @property
    def view_dims(self) -> Mapping[str, int]:
        """Every view that `encode` returns -> its dimension."""
        return MappingProxyType({**self._encoder.text_dims, **self._encoder.image_dims})

    @property
    def stats(self) -> EncoderStats:
        batched = self._batched
        return EncoderStats(self._hits, self._misses, batched.waiting, dict(batched.batch_sizes))

    def cached(self, text: str, images: Sequence[ImageSource]) -> Views | None:
        """Return the query's views if all its parts are in the cache, else None; never encodes."""
        found = self._cache.get(_text_key(text))
        if found is None:
            return None
        parts: list[Views] = []
        for image in images[: self._max_images]:
            part = self._cache.get(image.key)
            if part is None:
                return None
            parts.append(part)
        self._hits += 1 + len(parts)
        return {**found, **self._averaged(parts)}

    def peek(self, text: str, images: Sequence[ImageSource]) -> Views | None:
        """Return the same as `cached`, from any thread, without counting as a use of the cache."""
        parts = [self._cache.peek(_text_key(text)), *[self._cache.peek(i.key) for i in images[: self._max_images]]]
        first, *others = parts
        known = [part for part in others if part is not None]
        return None if first is None or len(known) < len(others) else {**first, **self._averaged(known)}

    async def encode(self, text: str, images: Sequence[ImageSource]) -> Views:
        """Return the query's views. Raises EncodeError when a part cannot be encoded, EncoderBusy under load."""
        first, *parts = await asyncio.gather(
            self._text_views(text), *map(self._image_views, images[: self._max_images])
        )
        return {**first, **self._averaged(parts)}

    async def close(self) -> None:
        """Fail all waiting items and release the threads."""
        await self._batched.close()

    async def _text_views(self, text: str) -> Views:
        key = _text_key(text)
        found = self._cache.get(key)
        if found is not None:
            self._hits += 1
            return found
        self._misses += 1
        return self._keep(key, await self._batched.encode_text(text))

    async def _image_views(self, image: ImageSource) -> Views:
        found = self._cache.get(image.key)
        if found is not None:
            self._hits += 1
            return found
        self._misses += 1
        return self._keep(image.key, await self._batched.encode_image(image))

    def _keep(self, key: bytes, views: Views) -> Views:
        kept = self._cache.get(key)  # several queries may have waited for the same encoding
        if kept is None:
            kept = _frozen(views)
            self._cache.put(key, kept)
        return kept

    def _averaged(self, parts: Sequence[Views]) -> Views:
        if not parts:
            return self._no_images
        if len(parts) == 1:
            return parts[0]
        return _frozen({view: np.mean([part[view] for part in parts], axis=0) for view in parts[0]})


class _Cache:
    """A cache of the most recently used entries, of a fixed size."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._views: OrderedDict[bytes, Views] = OrderedDict()

    def get(self, key: bytes) -> Views | None:
        views = self._views.get(key)
        if views is not None:
            self._views.move_to_end(key)
        return views

    def peek(self, key: bytes) -> Views | None:
        """Return an entry, as `get`, without marking it as recently used."""
        return self._views.get(key)

    def put(self, key: bytes, views: Views) -> None:
        self._views[key] = views
        self._views.move_to_end(key)
        while len(self._views) > self._entries:
            self._views.popitem(last=False)


def _text_key(text: str) -> bytes:
    # The prefix distinguishes a text from an image with the same hash. JSON may carry lone surrogates.
    return b"text:" + hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _frozen(views: Mapping[str, NDArray[np.floating]]) -> Views:
    """Return read-only copies, which do not keep the memory of a batch alive."""
    frozen: Views = {}
    for view, rows in views.items():
        frozen[view] = np.array(rows, dtype=np.float32)
        frozen[view].setflags(write=False)
    return frozen
