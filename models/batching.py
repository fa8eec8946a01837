"""An encoder for many requests at once: it runs off the event loop, in batches of all items that wait at the moment.

No request is delayed to fill a batch. Rule: a `BatchedEncoder` belongs to one event loop; only its `_encode_texts` and
`_encode_images` run on other threads, and they use nothing of the object but the encoder.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from models.base import EncodeError, Encoder, ImageSource, Views

Item = TypeVar("Item")
Result = Views | Exception
Key = str | bytes


class EncoderBusy(EncodeError):
    """Too many items wait already; the caller should continue without an encoding."""


@dataclass(slots=True, eq=False)
class _Job(Generic[Item]):
    """One item to encode, and the futures of all callers that wait for it."""

    item: Item
    number: int
    waiters: set[asyncio.Future[Views]] = field(default_factory=set)

    def deliver(self, result: Result) -> None:
        for waiter in self.waiters:
            if waiter.done():  # cancelled while this was encoded
                continue
            if isinstance(result, Exception):
                waiter.set_exception(result)
            else:
                waiter.set_result(result)


class _Lane(Generic[Item]):
    """The items of one kind: the waiting items, oldest first, and the items being encoded."""

    def __init__(self, encode: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        self.encode = encode
        self.waiting: dict[Key, _Job[Item]] = {}
        self.running: dict[Key, _Job[Item]] = {}

    def oldest(self) -> int:
        """Return the number of the job that has waited longest. At least one job must wait."""
        return next(iter(self.waiting.values())).number

    def take(self, most: int) -> dict[Key, _Job[Item]]:
        """Move the oldest jobs, at most `most` of them, from waiting to running, and return them."""
        batch = dict(itertools.islice(self.waiting.items(), most))
        for key in batch:
            del self.waiting[key]
        self.running.update(batch)
        return batch

    def finish(self, batch: Mapping[Key, _Job[Item]], results: Sequence[Result]) -> None:
        for (key, job), result in zip(batch.items(), results, strict=True):
            del self.running[key]
            job.deliver(result)


class BatchedEncoder:
    """An encoder of single texts and images for callers, which encodes in batches.

    `threads` batches run at once. Equal items that are requested at the same time are encoded once. An item that no
    caller waits for any longer is not encoded. A faulty image fails alone, without the rest of its batch.
    """

    def __init__(self, encoder: Encoder, *, threads: int = 1, max_batch: int = 8, max_queue: int = 256) -> None:
        self._encoder = encoder
        self._threads = threads
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="encode")
        self._numbers = itertools.count()
        self._texts = _Lane(self._encode_texts)
        self._images = _Lane(self._encode_images)
        self._batches: set[asyncio.Future[Sequence[Result]]] = set()
        self._closed = False
        self.batch_sizes: Counter[int] = Counter()
        """The number of batches of each size that have been started."""

    @property
    def waiting(self) -> int:
        """The number of items that wait for a thread."""
        return len(self._texts.waiting) + len(self._images.waiting)

    async def encode_text(self, text: str) -> Views:
        """Return the views of one text, each [1, dimension]. Raises EncodeError, and EncoderBusy if too many wait."""
        return await self._submit(self._texts, text, text)

    async def encode_image(self, source: ImageSource) -> Views:
        """Return the views of one image, each [1, dimension]. Raises as `encode_text`; reads the file off the loop."""
        return await self._submit(self._images, source.key, source)

    async def close(self) -> None:
        """Fail all waiting items, wait for running batches, and release the threads."""
        self._closed = True
        for lane in (self._texts, self._images):
            for job in lane.waiting.values():
                job.deliver(EncodeError("the encoder is closed"))
            lane.waiting.clear()
        if self._batches:
            await asyncio.wait(self._batches)
        self._pool.shutdown()

    async def _submit(self, lane: _Lane[Item], key: Key, item: Item) -> Views:
        if self._closed:
            raise EncodeError("the encoder is closed")
        job = lane.running.get(key) or lane.waiting.get(key)
        if job is None:
            if self.waiting >= self._max_queue:
                raise EncoderBusy(f"{self.waiting} texts and images wait to be encoded already")
            job = lane.waiting[key] = _Job(item, next(self._numbers))
        waiter: asyncio.Future[Views] = asyncio.get_running_loop().create_future()
        job.waiters.add(waiter)
        self._start_batches()
        try:
            return await waiter
        finally:
            job.waiters.discard(waiter)
            if not job.waiters and lane.waiting.get(key) is job:
                del lane.waiting[key]

    def _start_batches(self) -> None:
        while len(self._batches) < self._threads and self.waiting:
            texts, images = self._texts, self._images
            if not images.waiting or (texts.waiting and texts.oldest() < images.oldest()):
                self._start_batch(texts)
            else:
                self._start_batch(images)

    def _start_batch(self, lane: _Lane[Item]) -> None:
        batch = lane.take(self._max_batch)
        self.batch_sizes[len(batch)] += 1
        items = [job.item for job in batch.values()]
        running = asyncio.get_running_loop().run_in_executor(self._pool, lane.encode, items)
        self._batches.add(running)

        def end(ended: asyncio.Future[Sequence[Result]]) -> None:
            self._batches.discard(ended)
            self._start_batches()  # start the next batch before answering callers, so that the thread does not wait
            lane.finish(batch, ended.result())

        running.add_done_callback(end)

    def _encode_texts(self, texts: Sequence[str]) -> Sequence[Result]:
        return _together_or_singly(self._encoder.encode_texts, texts)

    def _encode_images(self, sources: Sequence[ImageSource]) -> Sequence[Result]:
        files: list[bytes] = []
        results: list[Result | None] = []
        for source in sources:
            try:
                files.append(source.read())
                results.append(None)
            except Exception as error:  # any error in reading a source fails that source only
                results.append(_unreadable(error))
        encoded = iter(_together_or_singly(self._encoder.encode_images, files))
        return [next(encoded) if result is None else result for result in results]


def _unreadable(error: Exception) -> EncodeError:
    failure = EncodeError(f"the image cannot be read: {error or type(error).__name__}")
    failure.__cause__ = error
    return failure


def _together_or_singly(encode: Callable[[Sequence[Item]], Views], items: Sequence[Item]) -> Sequence[Result]:
    """Return one result per item. If the batch fails, each item is encoded alone, so that only faulty items fail."""
    if not items:
        return []
    try:
        views = encode(items)
    except Exception as error:
        if len(items) == 1:
            return [error]
        return [_together_or_singly(encode, [item])[0] for item in items]
    return [{view: rows[row : row + 1] for view, rows in views.items()} for row in range(len(items))]
