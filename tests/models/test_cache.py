"""A query's views: cached by content, averaged over images, zero where there is none, and never writable."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from models.base import EncodeError, Views
from models.batching import EncoderBusy
from models.cache import QueryEncoder
from tests.checks.encoder_checks import IMAGES
from tests.fakes.encoder import FakeEncoder, FakeImage

RED, BLUE, GREEN = (FakeImage(data) for data in IMAGES)


class Unread(FakeImage):
    """An image that must be found by its key alone."""

    def read(self) -> bytes:
        raise AssertionError("was read although it is in the cache")


def ask(encoder: FakeEncoder, *queries: tuple[str, list[FakeImage]], **options: int) -> list[Views]:
    """Encode queries one after the other, and close."""

    async def scene() -> list[Views]:
        query_encoder = QueryEncoder(encoder, **options)
        try:
            return [await query_encoder.encode(text, images) for text, images in queries]
        finally:
            await query_encoder.close()

    return asyncio.run(scene())


def test_query_has_every_view_as_one_row() -> None:
    (views,) = ask(FakeEncoder(), ("a", [RED]))
    assert {view: rows.shape for view, rows in views.items()} == {
        "text": (1, 384),
        "image": (1, 384),
        "image_features": (1, 1280),
    }
    assert all(rows.dtype == np.float32 for rows in views.values())


def test_query_without_images_has_zero_rows_for_them() -> None:
    (views,) = ask(FakeEncoder(), ("a", []))
    assert not views["image"].any() and not views["image_features"].any()
    assert views["image_features"].shape == (1, 1280)


def test_query_without_text_is_encoded_as_the_empty_text() -> None:
    (views,) = ask(FakeEncoder(), ("", [RED]))
    np.testing.assert_array_equal(views["text"], FakeEncoder().encode_texts([""])["text"])


def test_several_images_are_averaged_and_of_too_many_the_first_count() -> None:
    (views,) = ask(FakeEncoder(), ("a", [RED, BLUE, GREEN]), max_images=2)
    expected = FakeEncoder().encode_images([RED.data, BLUE.data])["image"].mean(axis=0, keepdims=True)
    np.testing.assert_allclose(views["image"], expected, atol=1e-6)


def test_what_was_encoded_once_is_not_encoded_or_read_again() -> None:
    encoder = FakeEncoder()
    first, second = ask(encoder, ("a", [RED]), ("a", [Unread(RED.data)]))
    assert (encoder.text_batches, encoder.image_batches) == ([["a"]], [[RED.data]])
    for view, rows in first.items():
        np.testing.assert_array_equal(rows, second[view])


def test_text_and_images_are_cached_apart() -> None:
    encoder = FakeEncoder()
    ask(encoder, ("a", [RED]), ("b", [RED]), ("a", [BLUE]), ("b", [BLUE]))
    assert (encoder.text_batches, encoder.image_batches) == ([["a"], ["b"]], [[RED.data], [BLUE.data]])


def test_cached_answers_at_once_and_only_when_all_is_there() -> None:
    async def scene() -> None:
        query_encoder = QueryEncoder(FakeEncoder())
        assert query_encoder.cached("a", [RED]) is None
        views = await query_encoder.encode("a", [RED])
        assert query_encoder.cached("b", [RED]) is None
        assert query_encoder.cached("a", [RED, BLUE]) is None
        cached = query_encoder.cached("a", [Unread(RED.data)])
        assert cached is not None and cached.keys() == views.keys()
        for view, rows in views.items():
            np.testing.assert_array_equal(cached[view], rows)
        without = query_encoder.cached("a", [])
        assert without is not None and not without["image"].any()
        await query_encoder.close()

    asyncio.run(scene())


def test_a_peek_finds_what_is_there_and_counts_as_no_use() -> None:
    async def scene() -> None:
        query_encoder = QueryEncoder(FakeEncoder(), cache_entries=2)
        assert query_encoder.peek("a", [RED]) is None
        views = await query_encoder.encode("a", [RED])
        before = query_encoder.stats
        found = await asyncio.to_thread(query_encoder.peek, "a", [Unread(RED.data)])
        assert found is not None and found.keys() == views.keys()
        for view, rows in views.items():
            np.testing.assert_array_equal(found[view], rows)
        assert query_encoder.peek("a", [RED, BLUE]) is None
        assert query_encoder.stats == before
        await query_encoder.encode("b", [RED])  # "a" is now the one used longest ago, for all that it was peeked at
        query_encoder.peek("a", [RED])
        await query_encoder.encode("c", [RED])
        assert query_encoder.peek("a", [RED]) is None
        await query_encoder.close()

    asyncio.run(scene())


def test_cache_forgets_what_was_used_longest_ago() -> None:
    async def scene() -> None:
        query_encoder = QueryEncoder(FakeEncoder(), cache_entries=2)
        await query_encoder.encode("a", [])
        await query_encoder.encode("b", [])
        assert query_encoder.cached("a", []) is not None  # now "b" is the older
        await query_encoder.encode("c", [])
        assert query_encoder.cached("b", []) is None
        assert query_encoder.cached("a", []) is not None
        await query_encoder.close()

    asyncio.run(scene())


def test_cache_of_no_entries_keeps_nothing_and_still_encodes() -> None:
    async def scene() -> None:
        query_encoder = QueryEncoder(FakeEncoder(), cache_entries=0)
        assert (await query_encoder.encode("a", []))["text"].any()
        assert query_encoder.cached("a", []) is None
        await query_encoder.close()

    asyncio.run(scene())


def test_views_cannot_be_written_to() -> None:
    first, several, none = ask(FakeEncoder(), ("a", [RED]), ("a", [RED, BLUE]), ("a", []))
    for views in (first, several, none):
        for rows in views.values():
            with pytest.raises(ValueError, match="read-only"):
                rows[0, 0] = 1.0


def test_taking_a_view_out_of_the_answer_does_not_change_the_cache() -> None:
    async def scene() -> None:
        query_encoder = QueryEncoder(FakeEncoder())
        await query_encoder.encode("a", [RED])
        cached = query_encoder.cached("a", [RED])
        assert cached is not None
        cached.clear()
        again = query_encoder.cached("a", [RED])
        assert again is not None and set(again) == {"text", "image", "image_features"}
        await query_encoder.close()

    asyncio.run(scene())


def test_failure_is_raised_and_not_cached() -> None:
    async def scene() -> None:
        query_encoder = QueryEncoder(FakeEncoder())
        for _ in range(2):
            with pytest.raises(EncodeError):
                await query_encoder.encode("a", [FakeImage(b"no image"), RED])
        assert query_encoder.cached("a", [RED]) is not None  # what could be encoded was
        await query_encoder.close()

    asyncio.run(scene())


def test_full_queue_is_told_apart_from_failure() -> None:
    async def scene() -> None:
        query_encoder = QueryEncoder(FakeEncoder(delay_s=0.05), max_queue=1, max_batch=1)
        results = await asyncio.gather(*(query_encoder.encode(text, []) for text in "abc"), return_exceptions=True)
        assert [type(result) for result in results] == [dict, dict, EncoderBusy]
        await query_encoder.close()

    asyncio.run(scene())


def test_stats_count_texts_and_images() -> None:
    async def scene() -> None:
        query_encoder = QueryEncoder(FakeEncoder())
        await query_encoder.encode("a", [RED])
        await query_encoder.encode("a", [BLUE])
        query_encoder.cached("a", [BLUE])
        query_encoder.cached("unknown", [])
        stats = query_encoder.stats
        assert (stats.hits, stats.misses, stats.waiting, stats.batches) == (3, 3, 0, 3)
        assert stats.batch_sizes == {1: 3}
        await query_encoder.close()

    asyncio.run(scene())


def test_same_query_from_many_at_once_is_encoded_once() -> None:
    async def scene() -> None:
        encoder = FakeEncoder(delay_s=0.01)
        query_encoder = QueryEncoder(encoder)
        answers = await asyncio.gather(*(query_encoder.encode("a", [RED, RED]) for _ in range(20)))
        assert (encoder.text_batches, encoder.image_batches) == ([["a"]], [[RED.data]])
        assert all(answer["text"] is answers[0]["text"] for answer in answers)
        await query_encoder.close()

    asyncio.run(scene())


def test_identity_and_dimensions_are_the_encoders() -> None:
    async def scene() -> None:
        encoder = FakeEncoder()
        query_encoder = QueryEncoder(encoder)
        assert (query_encoder.name, query_encoder.digest) == (encoder.name, encoder.digest)
        assert query_encoder.view_dims == {"text": 384, "image": 384, "image_features": 1280}
        await query_encoder.close()

    asyncio.run(scene())


def test_lone_surrogates_and_equal_bytes_do_not_confuse_the_cache() -> None:
    encoder = FakeEncoder()
    ask(encoder, ("\ud83d", []), ("\ud83e", []), ("?", []))
    assert len(encoder.text_batches) == 3
