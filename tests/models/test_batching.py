"""Many requests share one encoder: batches form by themselves, and nobody pays for another's failure or leaving."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from models.base import EncodeError, Views
from models.batching import BatchedEncoder, EncoderBusy
from tests.checks.encoder_checks import IMAGES, drawn
from tests.fakes.encoder import FakeEncoder, FakeImage

LIMIT_S = 60


class HeldEncoder(FakeEncoder):
    """Stops inside its first call until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def encode_texts(self, texts: Sequence[str]) -> Views:
        self.entered.set()
        assert self.let_go.wait(LIMIT_S)
        return super().encode_texts(texts)


class UnreadableImage(FakeImage):
    def read(self) -> bytes:
        raise OSError("the file is gone")


class Hall:
    """A batched encoder whose only thread is held by the text `first`."""

    def __init__(self, **options: int) -> None:
        self.encoder = HeldEncoder()
        self.batched = BatchedEncoder(self.encoder, **options)

    async def __aenter__(self) -> Hall:
        self.first = asyncio.create_task(self.batched.encode_text("first"))
        assert await asyncio.to_thread(self.encoder.entered.wait, LIMIT_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.encoder.let_go.set()
        await self.batched.close()
        await asyncio.gather(self.first, return_exceptions=True)


async def settled() -> None:
    """Let every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_views_are_those_of_the_encoder() -> None:
    async def scene() -> None:
        batched = BatchedEncoder(FakeEncoder())
        text, image = await asyncio.gather(batched.encode_text("a"), batched.encode_image(FakeImage(IMAGES[0])))
        np.testing.assert_array_equal(text["text"], FakeEncoder().encode_texts(["a"])["text"])
        expected = FakeEncoder().encode_images([IMAGES[0]])
        assert image.keys() == expected.keys()
        for view, rows in expected.items():
            np.testing.assert_array_equal(image[view], rows)
        await batched.close()

    asyncio.run(scene())


def test_what_waits_goes_together_and_each_gets_its_own() -> None:
    async def scene() -> None:
        async with Hall(max_batch=4) as hall:
            texts = [f"text {number}" for number in range(6)]
            tasks = [asyncio.create_task(hall.batched.encode_text(text)) for text in texts]
            await settled()
            hall.encoder.let_go.set()
            for text, views in zip(texts, await asyncio.gather(*tasks), strict=True):
                np.testing.assert_array_equal(views["text"], FakeEncoder().encode_texts([text])["text"])
            assert hall.encoder.text_batches == [["first"], texts[:4], texts[4:]]
            assert hall.batched.batch_sizes == {1: 1, 4: 1, 2: 1}

    asyncio.run(scene())


def test_the_kind_that_waits_longest_goes_first() -> None:
    async def scene() -> None:
        async with Hall() as hall:
            image = asyncio.create_task(hall.batched.encode_image(FakeImage(IMAGES[0])))
            await settled()
            text = asyncio.create_task(hall.batched.encode_text("later"))
            await settled()
            assert hall.batched.waiting == 2
            hall.encoder.let_go.set()
            await image
            assert hall.encoder.image_batches == [[IMAGES[0]]]
            await text

    asyncio.run(scene())


def test_equal_things_asked_for_together_are_encoded_once() -> None:
    async def scene() -> None:
        async with Hall() as hall:
            waiting = [asyncio.create_task(hall.batched.encode_text("same")) for _ in range(5)]
            joined = [asyncio.create_task(hall.batched.encode_text("first")) for _ in range(3)]
            await settled()
            hall.encoder.let_go.set()
            await asyncio.gather(*waiting, *joined)
            assert hall.encoder.text_batches == [["first"], ["same"]]

    asyncio.run(scene())


def test_full_queue_refuses_at_once_and_recovers() -> None:
    async def scene() -> None:
        async with Hall(max_queue=2) as hall:
            tasks = [asyncio.create_task(hall.batched.encode_text(text)) for text in "ab"]
            await settled()
            with pytest.raises(EncoderBusy, match="2 texts and images wait"):
                await hall.batched.encode_text("c")
            with pytest.raises(EncoderBusy):
                await hall.batched.encode_image(FakeImage(IMAGES[0]))
            joining = asyncio.create_task(hall.batched.encode_text("a"))  # takes no place of its own
            await settled()
            hall.encoder.let_go.set()
            await asyncio.gather(*tasks, joining)
            assert (await hall.batched.encode_text("c"))["text"].shape == (1, 384)

    asyncio.run(scene())


def test_one_who_leaves_takes_nothing_from_the_others() -> None:
    async def scene() -> None:
        async with Hall() as hall:
            stays = [asyncio.create_task(hall.batched.encode_text(text)) for text in ("a", "shared")]
            leaves = [asyncio.create_task(hall.batched.encode_text(text)) for text in ("b", "shared", "first")]
            await settled()
            for task in (*leaves, hall.first):
                task.cancel()
            await settled()
            hall.encoder.let_go.set()
            await asyncio.gather(*stays)
            assert hall.encoder.text_batches == [["first"], ["a", "shared"]]  # nobody waits for "b"

    asyncio.run(scene())


def test_who_leaves_frees_a_place_in_the_queue() -> None:
    async def scene() -> None:
        async with Hall(max_queue=1) as hall:
            leaves = asyncio.create_task(hall.batched.encode_text("a"))
            await settled()
            leaves.cancel()
            await settled()
            stays = asyncio.create_task(hall.batched.encode_text("b"))
            await settled()
            hall.encoder.let_go.set()
            assert (await stays)["text"].shape == (1, 384)

    asyncio.run(scene())


def test_time_limit_ends_the_wait_and_not_the_encoder() -> None:
    async def scene() -> None:
        async with Hall() as hall:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await hall.batched.encode_text("slow")
            hall.encoder.let_go.set()
            assert (await hall.batched.encode_text("after"))["text"].shape == (1, 384)

    asyncio.run(scene())


def test_a_failing_image_fails_alone() -> None:
    async def scene() -> None:
        async with Hall() as hall:
            good = [FakeImage(drawn(colour)) for colour in ("red", "blue")]
            images = [good[0], FakeImage(b"no image"), UnreadableImage(b"x"), good[1]]
            tasks = [asyncio.create_task(hall.batched.encode_image(image)) for image in images]
            await settled()
            hall.encoder.let_go.set()
            first, broken, unread, second = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(broken, EncodeError)
            assert isinstance(unread, EncodeError) and "the file is gone" in str(unread)
            for image, views in zip(good, (first, second), strict=True):
                expected = FakeEncoder().encode_images([image.data])["image"]
                np.testing.assert_array_equal(views["image"], expected)

    asyncio.run(scene())


def test_failing_encoder_fails_every_caller_and_can_be_asked_again() -> None:
    async def scene() -> None:
        encoder = FakeEncoder(fail=True)
        batched = BatchedEncoder(encoder)
        for _ in range(2):
            results = await asyncio.gather(*map(batched.encode_text, "abc"), return_exceptions=True)
            assert all(isinstance(result, EncodeError) for result in results)
        await batched.close()

    asyncio.run(scene())


def test_the_loop_is_free_while_the_encoder_works() -> None:
    async def scene() -> None:
        async with Hall() as hall:
            await asyncio.sleep(0.01)  # would not return if the loop were held
            assert not hall.first.done()

    asyncio.run(scene())


def test_two_threads_encode_at_once() -> None:
    class Meeting(FakeEncoder):
        """Goes on only when two calls are inside."""

        barrier = threading.Barrier(2, timeout=LIMIT_S)

        def encode_texts(self, texts: Sequence[str]) -> Views:
            self.barrier.wait()
            return super().encode_texts(texts)

    async def scene() -> None:
        batched = BatchedEncoder(Meeting(), threads=2)
        await asyncio.gather(batched.encode_text("a"), batched.encode_text("b"))
        await batched.close()

    asyncio.run(scene())


def test_close_fails_what_waits_and_lets_what_runs_end() -> None:
    async def scene() -> None:
        hall = Hall()
        async with hall:
            waits = asyncio.create_task(hall.batched.encode_text("waits"))
            await settled()
            closing = asyncio.create_task(hall.batched.close())
            await settled()
            with pytest.raises(EncodeError, match="closed"):
                await waits
            assert not closing.done()
            hall.encoder.let_go.set()
            await closing
            assert (await hall.first)["text"].shape == (1, 384)
            with pytest.raises(EncodeError, match="closed"):
                await hall.batched.encode_text("late")

    asyncio.run(scene())


@pytest.mark.parametrize("threads", [1, 3])
def test_crowd_with_leavers_and_broken_images_all_get_what_is_theirs(threads: int) -> None:
    async def ask(batched: BatchedEncoder, number: int) -> bool:
        """Whether request `number` ended as it should."""
        broken = number % 7 == 0
        data = b"broken %d" % number if broken else IMAGES[0] + b"%d" % (number % 40)
        try:
            async with asyncio.timeout(0.001 if number % 5 == 0 else LIMIT_S):
                views = await batched.encode_image(FakeImage(data))
        except TimeoutError:
            return number % 5 == 0
        except EncodeError:
            return broken
        return np.array_equal(views["image"], FakeEncoder().encode_images([data])["image"])

    async def scene() -> None:
        encoder = FakeEncoder(delay_s=0.001)
        batched = BatchedEncoder(encoder, threads=threads, max_queue=500)
        assert all(await asyncio.gather(*(ask(batched, number) for number in range(300))))
        assert batched.waiting == 0
        await batched.close()

    asyncio.run(scene())
