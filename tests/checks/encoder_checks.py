"""Laws that every encoder obeys. `ENCODER_CHECKS` are called with the encoder; images are drawn here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw

from models.base import EncodeError, Encoder, Views

TEXTS = ("What is the total?", "", "how many circles are there? " * 60, "größer als 5 €? 你好 \U0001f600")
NORMED_VIEWS = ("text", "image")
TOLERANCE = 1e-4


def drawn(colour: str, *, size: tuple[int, int] = (200, 150), form: str = "PNG") -> bytes:
    """A picture file: a disc of one colour on grey."""
    image = Image.new("RGB", size, "grey")
    width, height = size
    ImageDraw.Draw(image).ellipse((width // 4, height // 4, width // 2, height // 2), fill=colour)
    file = BytesIO()
    image.save(file, form)
    return file.getvalue()


IMAGES = (drawn("red"), drawn("blue", form="JPEG"), drawn("green", size=(64, 300), form="WEBP"))


def check_views_have_the_named_shapes(encoder: Encoder) -> None:
    _assert_shaped(encoder.encode_texts(TEXTS), encoder.text_dims, len(TEXTS))
    _assert_shaped(encoder.encode_images(IMAGES), encoder.image_dims, len(IMAGES))


def check_nothing_gives_no_rows(encoder: Encoder) -> None:
    _assert_shaped(encoder.encode_texts([]), encoder.text_dims, 0)
    _assert_shaped(encoder.encode_images([]), encoder.image_dims, 0)


def check_same_input_gives_same_output(encoder: Encoder) -> None:
    _assert_close(encoder.encode_texts(TEXTS), encoder.encode_texts(TEXTS), 0.0)
    _assert_close(encoder.encode_images(IMAGES), encoder.encode_images(IMAGES), 0.0)


def check_neighbours_in_a_batch_change_nothing(encoder: Encoder) -> None:
    alone = [encoder.encode_texts([text]) for text in TEXTS]
    _assert_close(encoder.encode_texts(TEXTS), _joined(alone), TOLERANCE)
    alone = [encoder.encode_images([image]) for image in IMAGES]
    _assert_close(encoder.encode_images(IMAGES), _joined(alone), TOLERANCE)


def check_different_inputs_differ(encoder: Encoder) -> None:
    for views in (encoder.encode_texts(TEXTS), encoder.encode_images(IMAGES)):
        for rows in views.values():
            assert len(np.unique(rows.round(4), axis=0)) == len(rows)


def check_comparable_views_have_norm_one(encoder: Encoder) -> None:
    views = {**encoder.encode_texts(TEXTS), **encoder.encode_images(IMAGES)}
    for view in NORMED_VIEWS:
        np.testing.assert_allclose(np.linalg.norm(views[view], axis=1), 1.0, atol=1e-3)


def check_what_is_no_image_raises_encode_error(encoder: Encoder) -> None:
    for data in (b"", b"no image", b"<html><body>404</body></html>", b"\x00" * 1000):
        with pytest.raises(EncodeError):
            encoder.encode_images([data])
        with pytest.raises(EncodeError):
            encoder.encode_images([IMAGES[0], data])


def check_odd_texts_are_encoded(encoder: Encoder) -> None:
    odd = ["\x00", " \n\t ", "\ud83d alone", "a" * 100_000, "\u202e\u0301\ufeff"]
    for rows in encoder.encode_texts(odd).values():
        assert np.isfinite(rows).all()


def check_identity_is_stated(encoder: Encoder) -> None:
    assert encoder.name
    assert len(bytes.fromhex(encoder.digest)) == 32


ENCODER_CHECKS: tuple[Callable[[Encoder], None], ...] = (
    check_views_have_the_named_shapes,
    check_nothing_gives_no_rows,
    check_same_input_gives_same_output,
    check_neighbours_in_a_batch_change_nothing,
    check_different_inputs_differ,
    check_comparable_views_have_norm_one,
    check_what_is_no_image_raises_encode_error,
    check_odd_texts_are_encoded,
    check_identity_is_stated,
)


def _assert_shaped(views: Views, dims: Mapping[str, int], count: int) -> None:
    assert {view: rows.shape for view, rows in views.items()} == {
        view: (count, dimension) for view, dimension in dims.items()
    }
    for rows in views.values():
        assert rows.dtype == np.float32
        assert np.isfinite(rows).all()


def _assert_close(views: Views, expected: Views, tolerance: float) -> None:
    assert views.keys() == expected.keys()
    for view, rows in views.items():
        np.testing.assert_allclose(rows, expected[view], rtol=0, atol=tolerance)


def _joined(parts: list[Views]) -> Views:
    return {view: np.concatenate([part[view] for part in parts]) for view in parts[0]}
