"""Views that need no network: surface statistics of a text and an image, and a hash of every word of a text.

`surface_text` and `surface_image` are small vectors of documented statistics. They are a fallback where a network tells
little, and they measure what networks do not see (how long, how many numbers, how large, how busy). `text_hashed`
is a second view of the whole text for encoders that cut texts (CLIP after 77 tokens, MiniLM after 256): signed feature
hashing of words and word pairs (Weinberger et al., arXiv 0902.2206), so that nothing after the cut is lost.

Rule: a change of any number in these views needs a new `SURFACE_VERSION`, because routers are bound to it.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.base import Encoder, Views
from models.image_preprocessing import FORMATS, to_pixels

SURFACE_VERSION = 1

TEXT_STATISTICS = (
    "present",  # 1, so that the row of a text, even an empty text, is never all zeros, which would mean no text
    "log_characters",
    "log_words",
    "log_numbers",
    "log_lines",
    "log_question_marks",
    "log_choices",  # (A) B. C) and the like
    "log_maths_marks",
    "log_latex_commands",
    "log_largest_number",
    "mean_word_length",  # tenths of a character, at most 2
    "digit_share",
    "non_ascii_share",
    "capital_share",
    "punctuation_share",
    "distinct_word_share",
    "asks_how_many",
    "asks_yes_or_no",
    "wants_a_format",
    "has_code",
)
"""Columns of `surface_text`. A `log_` column is log(1 + count) / 5; shares are of characters (or words), 0 to 1."""

IMAGE_STATISTICS = (
    "present",
    "log_long_side",  # of the file's pixels, independent of the camera's orientation; over 10
    "log_short_side",
    "log_elongation",  # long side over short: 0 for a square
    "log_bytes_per_pixel",  # how much information the compressor found
    "luminance_mean",
    "luminance_std",
    "colourfulness",  # Hasler and Suesstrunk, "Measuring colourfulness in natural images" (2003)
    "edge_share",
    "horizontal_edge_energy",
    "vertical_edge_energy",
    "white_share",
    "black_share",
    "saturated_share",
    "luminance_entropy",  # of 16 levels, over log 16
    "palette_share",  # distinct colours of 4 bits a channel, over the thumbnail's pixels
    *(f"ink_{row}_{column}" for row in range(4) for column in range(4)),  # 1 - luminance over a 4 x 4 grid
)
"""Columns of `surface_image`; shares and means are of a thumbnail of 64 x 64, all within 0 to 1."""

HASHED_DIMENSION = 256

Shades = NDArray[np.floating]

# A prompt may be a megabyte. Only its head and its tail are read, where the task is usually stated.
MOST_CHARACTERS = 32_768
_SIDE = 64
_EDGE = 0.1  # the least difference of neighbouring luminances that counts as an edge
_MIXER = np.uint32(2_654_435_761)  # Knuth's multiplicative hash: crc32 alone is linear in its input
_PAIR_MIXER = np.uint32(2_246_822_519)

_WORD = re.compile(r"\w+|[^\w\s]")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_CHOICE = re.compile(r"(?:^|[\s(])[A-H][).:](?=\s|$)", re.MULTILINE)
_LATEX = re.compile(r"\\[a-zA-Z]+")
_MATHS = frozenset("+=<>^*/√∑∫π∞≤≥≠±×÷°∠∆°$|")
_HOW_MANY = re.compile(r"\bhow (?:many|much)\b|\bcount\b|\bnumber of\b", re.IGNORECASE)
_YES_NO = re.compile(r"^\s*(?:is|are|do|does|did|can|has|have|was|were|will)\b|\byes\b.{0,9}\bno\b", re.IGNORECASE)
_FORMAT = re.compile(r"\banswer (?:with|in|the question with)\b|\bformat\b|\be\.g\.|\bonly\b", re.IGNORECASE)
_CODE = re.compile(r"```|\bdef \w+\(|;\s*$|^\s*(?:import|#include|SELECT)\b", re.MULTILINE)


class WithSurface:
    """An encoder that adds the three views of this module to those of any encoder. Implements `models.base.Encoder`.

    Raises ValueError for an encoder that already has a view of one of these names.
    """

    def __init__(self, encoder: Encoder) -> None:
        taken = {"surface_text", "text_hashed", "surface_image"} & {*encoder.text_dims, *encoder.image_dims}
        if taken:
            raise ValueError(f"{encoder.name} has a view {min(taken)!r} of its own")
        self._encoder = encoder
        text_dims = {"surface_text": len(TEXT_STATISTICS), "text_hashed": HASHED_DIMENSION}
        self._text_dims = MappingProxyType({**encoder.text_dims, **text_dims})
        self._image_dims = MappingProxyType({**encoder.image_dims, "surface_image": len(IMAGE_STATISTICS)})
        whole = f"surface/{SURFACE_VERSION}/{encoder.digest}"
        self._digest = hashlib.sha256(whole.encode()).hexdigest()

    @property
    def name(self) -> str:
        return f"{self._encoder.name}+surface"

    @property
    def digest(self) -> str:
        """The sha256 over the inner encoder's digest and the version of this module's views."""
        return self._digest

    @property
    def text_dims(self) -> Mapping[str, int]:
        return self._text_dims

    @property
    def image_dims(self) -> Mapping[str, int]:
        return self._image_dims

    def encode_texts(self, texts: Sequence[str]) -> Views:
        return {
            **self._encoder.encode_texts(texts),
            "surface_text": _stacked([text_statistics(text) for text in texts], len(TEXT_STATISTICS)),
            "text_hashed": _stacked([hashed_words(text) for text in texts], HASHED_DIMENSION),
        }

    def encode_images(self, images: Sequence[bytes]) -> Views:
        return {
            **self._encoder.encode_images(images),
            "surface_image": _stacked([image_statistics(image) for image in images], len(IMAGE_STATISTICS)),
        }


def text_statistics(text: str) -> NDArray[np.float32]:
    """Return statistics [len(TEXT_STATISTICS)] of one text; a large count gives about 1."""
    text = _bounded(text)
    words = text.split()
    numbers = _NUMBER.findall(text)
    length = max(len(text), 1)
    largest = max((float(number[:12]) for number in numbers), default=0.0)
    counts = (
        len(text),
        len(words),
        len(numbers),
        text.count("\n"),
        text.count("?"),
        len(_CHOICE.findall(text)),
        sum(character in _MATHS for character in text),
        len(_LATEX.findall(text)),
        largest,
    )
    shares = (
        min(len(text) / max(len(words), 1) / 10, 2.0),
        sum(map(str.isdigit, text)) / length,
        sum(character > "\x7f" for character in text) / length,
        sum(map(str.isupper, text)) / length,
        sum(not (character.isalnum() or character.isspace()) for character in text) / length,
        len({word.lower() for word in words}) / max(len(words), 1),
    )
    marks = [float(bool(mark.search(text))) for mark in (_HOW_MANY, _YES_NO, _FORMAT, _CODE)]
    return np.array([1.0, *(np.log1p(counts) / 5), *shares, *marks], dtype=np.float32)


def hashed_words(text: str) -> NDArray[np.float32]:
    """Return [HASHED_DIMENSION] of norm 1: each word and each pair of neighbours is a signed count in one place.

    The text's start and end count as neighbours, so there are 2n + 1 counts for n words; this number is odd, so they
    never all cancel out.
    """
    words = _WORD.findall(_bounded(text).lower())
    codes = np.array([0, *(zlib.crc32(word.encode("utf-8", "replace")) for word in words), 1], dtype=np.uint32)
    mixed = codes * _MIXER
    mixed ^= mixed >> np.uint32(15)
    pairs = (mixed[:-1] * _PAIR_MIXER) ^ (mixed[1:] + np.uint32(0x9E37))
    grams = np.concatenate([mixed[1:-1], pairs]) * _MIXER
    signs = np.where(grams & np.uint32(1 << 23), 1.0, -1.0)
    counted = np.bincount(grams >> np.uint32(24), signs, minlength=HASHED_DIMENSION)
    softened = np.sign(counted) * np.sqrt(np.abs(counted))
    return np.asarray(softened / np.linalg.norm(softened), dtype=np.float32)


def image_statistics(data: bytes) -> NDArray[np.float32]:
    """Return statistics [len(IMAGE_STATISTICS)] of one image file. Raises EncodeError as `to_pixels` does."""
    pixels = to_pixels(data, _SIDE, fit="stretch")
    with Image.open(BytesIO(data), formats=FORMATS) as header:  # `to_pixels` has checked the file
        short, long = sorted(header.size)
    colours = pixels.astype(np.float32) / 255
    luminance = colours @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    across, down = np.abs(np.diff(luminance, axis=1)), np.abs(np.diff(luminance, axis=0))
    spread = colours.max(axis=2) - colours.min(axis=2)
    palette = np.unique((pixels >> 4).astype(np.uint16) @ np.array([256, 16, 1], dtype=np.uint16))
    ink = 1 - luminance.reshape(4, _SIDE // 4, 4, _SIDE // 4).mean(axis=(1, 3))
    bytes_per_pixel = len(data) / (short * long)
    statistics = (
        1.0,
        np.log(long) / 10,
        np.log(short) / 10,
        np.log(long / short) / 4,
        np.log1p(bytes_per_pixel),
        luminance.mean(),
        luminance.std(),
        _colourfulness(colours),
        (np.mean(across > _EDGE) + np.mean(down > _EDGE)) / 2,
        across.mean(),
        down.mean(),
        np.mean(luminance > 0.95),
        np.mean(luminance < 0.05),
        np.mean(spread > 0.4),
        _entropy(luminance),
        len(palette) / luminance.size,
    )
    return np.array([*statistics, *ink.ravel()], dtype=np.float32)


def _colourfulness(colours: Shades) -> float:
    red_green = colours[..., 0] - colours[..., 1]
    yellow_blue = (colours[..., 0] + colours[..., 1]) / 2 - colours[..., 2]
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))


def _entropy(luminance: Shades) -> float:
    levels = np.bincount(np.minimum(luminance * 16, 15).astype(np.intp).ravel(), minlength=16)
    shares = levels[levels > 0] / luminance.size
    return float(-np.sum(shares * np.log(shares)) / np.log(16))


def _bounded(text: str) -> str:
    half = MOST_CHARACTERS // 2
    return text if len(text) <= MOST_CHARACTERS else f"{text[:half]} {text[-half:]}"


def _stacked(rows: Sequence[NDArray[np.float32]], dimension: int) -> NDArray[np.float32]:
    return np.stack(rows) if rows else np.zeros((0, dimension), dtype=np.float32)
