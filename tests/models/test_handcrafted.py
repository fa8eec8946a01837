"""What the network-free views say of texts and pictures, and that they can be added to any encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image, ImageDraw

from models.base import EncodeError, Encoder
from models.handcrafted import (
    HASHED_DIMENSION,
    IMAGE_STATISTICS,
    MOST_CHARACTERS,
    TEXT_STATISTICS,
    WithSurface,
    hashed_words,
    image_statistics,
    text_statistics,
)
from tests.checks.encoder_checks import ENCODER_CHECKS, IMAGES
from tests.fakes.encoder import FakeEncoder


@dataclass(frozen=True)
class Look:
    """Statistics by name."""

    values: dict[str, float]

    @classmethod
    def of_text(cls, text: str) -> Look:
        return cls(dict(zip(TEXT_STATISTICS, text_statistics(text).tolist(), strict=True)))

    @classmethod
    def of_image(cls, image: Image.Image, form: str = "PNG") -> Look:
        return cls(dict(zip(IMAGE_STATISTICS, image_statistics(saved(image, form)).tolist(), strict=True)))

    def __getitem__(self, name: str) -> float:
        return self.values[name]


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def plain(colour: str, size: tuple[int, int] = (96, 96)) -> Image.Image:
    return Image.new("RGB", size, colour)


def striped() -> Image.Image:
    image = plain("white")
    for left in range(0, 96, 12):
        ImageDraw.Draw(image).rectangle((left, 0, left + 5, 95), fill="black")
    return image


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return WithSurface(FakeEncoder())


@pytest.mark.parametrize("check", ENCODER_CHECKS, ids=lambda check: check.__name__)
def test_an_encoder_with_surface_obeys(encoder: Encoder, check: Callable[[Encoder], None]) -> None:
    check(encoder)


def test_the_inner_views_pass_through_untouched(encoder: Encoder) -> None:
    bare = FakeEncoder()
    np.testing.assert_array_equal(encoder.encode_texts(["a"])["text"], bare.encode_texts(["a"])["text"])
    np.testing.assert_array_equal(encoder.encode_images(IMAGES)["image"], bare.encode_images(IMAGES)["image"])


def test_an_encoder_with_surface_is_another_encoder(encoder: Encoder) -> None:
    assert encoder.digest == hashlib.sha256(f"surface/1/{FakeEncoder.digest}".encode()).hexdigest()
    assert encoder.name == "fake+surface"


def test_surface_is_not_added_twice(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="fake\\+surface has a view 'surface_image'"):
        WithSurface(encoder)


def test_counts_of_a_text_are_told() -> None:
    look = Look.of_text("Given $x^2 = 4$ and 3.5 apples,\nwhich is right? (A) 12 (B) 0.5 C. none")
    assert look["log_numbers"] == pytest.approx(np.log1p(5) / 5)
    assert look["log_choices"] == pytest.approx(np.log1p(3) / 5)
    assert look["log_question_marks"] == pytest.approx(np.log1p(1) / 5)
    assert look["log_lines"] == pytest.approx(np.log1p(1) / 5)
    assert look["log_maths_marks"] == pytest.approx(np.log1p(4) / 5)
    assert look["log_largest_number"] == pytest.approx(np.log1p(12) / 5)


@pytest.mark.parametrize(
    ("mark", "text", "other"),
    [
        ("asks_how_many", "How many circles are in the image?", "How tall is the tower?"),
        ("asks_yes_or_no", "Are the two circles touching?", "Where are the two circles?"),
        ("asks_yes_or_no", "Do they touch? Answer with Yes/No.", "Name the nose."),
        ("wants_a_format", "Answer with a number in curly brackets, e.g., {5}.", "Describe the picture."),
        ("has_code", "def f(x):\n    return x", "a defence of the function"),
    ],
)
def test_marks_of_a_text_tell_it_from_another(mark: str, text: str, other: str) -> None:
    assert (Look.of_text(text)[mark], Look.of_text(other)[mark]) == (1.0, 0.0)


def test_shares_of_a_text_are_of_its_characters() -> None:
    look = Look.of_text("Ab1!你好 \u00df")
    assert look["digit_share"] == look["capital_share"] == look["punctuation_share"] == pytest.approx(1 / 8)
    assert look["non_ascii_share"] == pytest.approx(3 / 8)


@given(some.text(max_size=200))
def test_no_text_is_taken_for_an_absent_one(text: str) -> None:
    for row in (text_statistics(text), hashed_words(text)):
        assert np.isfinite(row).all()
        assert row.any()


@given(some.text(max_size=200))
def test_hashed_words_have_norm_one(text: str) -> None:
    assert np.linalg.norm(hashed_words(text)) == pytest.approx(1.0, abs=1e-5)


def test_words_after_any_encoders_cut_still_count() -> None:
    head = "the quick brown fox jumps over the lazy dog " * 60
    apart = hashed_words(head + "translate this invoice") - hashed_words(head + "prove this theorem")
    assert np.linalg.norm(apart) > 0.05


def test_the_end_of_an_endless_text_still_counts() -> None:
    body = "lorem ipsum " * MOST_CHARACTERS
    assert (hashed_words(body + "prove it") != hashed_words(body + "sing it")).any()
    assert len(body) > 10 * MOST_CHARACTERS
    assert Look.of_text(body)["log_characters"] == pytest.approx(np.log1p(MOST_CHARACTERS + 1) / 5)


def test_texts_of_the_same_words_are_near_and_of_others_far() -> None:
    one, same, other = (
        hashed_words(text)
        for text in (
            "How many circles are in the image?",
            "how many squares are in the image?",
            "Solve 3x + 4 = 10 for x, please.",
        )
    )
    assert one @ same > 0.5 > 0.3 > abs(one @ other)


def test_word_order_is_seen() -> None:
    assert hashed_words("dog bites man") @ hashed_words("man bites dog") < 0.9


def test_hashed_words_are_the_same_on_every_machine() -> None:
    row = hashed_words("Loupe looks twice.")
    assert np.flatnonzero(row).tolist() == [3, 30, 67, 69, 89, 91, 100, 112, 189]
    np.testing.assert_allclose(np.abs(row[row != 0]), 1 / 3, atol=1e-6)
    assert len(row) == HASHED_DIMENSION


def test_statistics_of_plain_pictures_are_what_is_seen() -> None:
    white, black, red = (Look.of_image(plain(colour)) for colour in ("white", "black", "red"))
    assert (white["white_share"], white["black_share"]) == (1.0, 0.0)
    assert (black["white_share"], black["black_share"]) == (0.0, 1.0)
    assert (white["saturated_share"], red["saturated_share"]) == (0.0, 1.0)
    assert white["luminance_mean"] == pytest.approx(1.0)
    assert white["luminance_std"] == white["luminance_entropy"] == white["edge_share"] == pytest.approx(0.0, abs=1e-6)
    assert red["colourfulness"] > 0.25 > 0.01 > white["colourfulness"]


def test_edges_are_told_by_their_direction() -> None:
    across = Look.of_image(striped())
    down = Look.of_image(striped().transpose(Image.Transpose.ROTATE_90))
    assert across["horizontal_edge_energy"] > 0.1 > 0.01 > across["vertical_edge_energy"]
    assert down["vertical_edge_energy"] > 0.1 > 0.01 > down["horizontal_edge_energy"]
    assert across["edge_share"] > 0.1


def test_ink_is_placed() -> None:
    image = plain("white")
    ImageDraw.Draw(image).rectangle((72, 0, 95, 23), fill="black")
    look = Look.of_image(image)
    assert look["ink_0_3"] > 0.9
    assert max(look[f"ink_{row}_{column}"] for row in range(1, 4) for column in range(4)) < 0.1


def test_size_is_the_files_own() -> None:
    look = Look.of_image(plain("white", (200, 100)))
    assert look["log_long_side"] == pytest.approx(np.log(200) / 10)
    assert look["log_short_side"] == pytest.approx(np.log(100) / 10)
    assert look["log_elongation"] == pytest.approx(np.log(2) / 4)


def test_a_turned_photo_looks_as_it_is_shown() -> None:
    upright = plain("white", (120, 80))
    ImageDraw.Draw(upright).rectangle((0, 0, 40, 40), fill="black")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees to the right
    turned = saved(upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    place = IMAGE_STATISTICS.index("log_bytes_per_pixel")  # the metadata has bytes of its own
    shown, stored = image_statistics(saved(upright)), image_statistics(turned)
    np.testing.assert_allclose(np.delete(stored, place), np.delete(shown, place), atol=0.02)


def test_noise_takes_more_bytes_a_pixel_than_a_plain_picture() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    noisy, quiet = Look.of_image(Image.fromarray(noise)), Look.of_image(plain("grey"))
    assert noisy["log_bytes_per_pixel"] > 1 > 0.1 > quiet["log_bytes_per_pixel"]
    assert noisy["palette_share"] > 0.2 > 0.01 > quiet["palette_share"]


def test_a_broken_picture_has_no_statistics() -> None:
    with pytest.raises(EncodeError):
        image_statistics(IMAGES[0][:60])
