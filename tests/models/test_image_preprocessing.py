"""Whatever a client sends as an image becomes pixels or an EncodeError, and never much memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from models.base import EncodeError
from models.image_preprocessing import MAX_PIXELS, to_pixels

SIDE = 32


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def halves(width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    """White above, black below."""
    image = Image.new("L", (width, height), 255)
    image.paste(0, (0, height // 2, width, height))
    return image.convert(mode)


def brightness(pixels: np.ndarray) -> tuple[float, float, float, float]:
    """Mean of the top, bottom, left and right edge."""
    return tuple(float(edge.mean()) for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))


@pytest.mark.parametrize(
    ("form", "mode"),
    [
        ("PNG", "RGB"),
        ("PNG", "RGBA"),
        ("PNG", "L"),
        ("PNG", "LA"),
        ("PNG", "1"),
        ("PNG", "P"),
        ("PNG", "I;16"),
        ("JPEG", "RGB"),
        ("JPEG", "L"),
        ("JPEG", "CMYK"),
        ("WEBP", "RGB"),
        ("WEBP", "RGBA"),
        ("GIF", "P"),
        ("GIF", "L"),
    ],
)
def test_every_mode_and_format_shows_the_same_picture(form: str, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.asarray(halves()).astype(np.uint16)[..., 0] * 257)
    else:
        image = halves(mode=mode)
    pixels = to_pixels(saved(image, form), SIDE)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert pixels.dtype == np.uint8
    top, bottom, _, _ = brightness(pixels)
    assert top > 245 and bottom < 10


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(orientation: int) -> None:
    stored = {
        1: lambda image: image,
        2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
        4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
        6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
        7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
        8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    upright = halves()
    upright.paste(128, (0, 0, 20, 48))  # so that left and right differ too
    expected = to_pixels(saved(upright, "JPEG", quality=95), SIDE).astype(int)
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = saved(stored(upright), "JPEG", quality=95, exif=exif)
    assert np.abs(to_pixels(turned, SIDE).astype(int) - expected).mean() < 3


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_make_an_image_unreadable() -> None:
    data = saved(halves(), "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\x00\x00\xff\xff\xff\xff")
    assert brightness(to_pixels(data, SIDE))[0] > 245


def test_see_through_parts_are_white() -> None:
    assert (to_pixels(saved(Image.new("RGBA", (40, 40), (0, 0, 0, 0)), "PNG"), SIDE) == 255).all()
    palette = Image.new("P", (40, 40), 0)
    assert (to_pixels(saved(palette, "PNG", transparency=0), SIDE) == 255).all()


def test_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("white", "black", "black")]
    for form in ("GIF", "WEBP", "PNG"):
        data = saved(frames[0], form, save_all=True, append_images=frames[1:])
        assert to_pixels(data, SIDE).min() > 250


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 2000), (2000, 1), (3, 5), pytest.param((4000, 3000), marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("fit", ["crop", "stretch", "clip"])
def test_any_size_becomes_the_square(size: tuple[int, int], fit: str) -> None:
    pixels = to_pixels(saved(Image.new("RGB", size, "red"), "PNG"), SIDE, fit=fit)
    assert (pixels == np.array([255, 0, 0], dtype=np.uint8)).all()


def test_crop_keeps_the_centre_and_stretch_keeps_everything() -> None:
    wide = Image.new("RGB", (300, 100), "black")
    wide.paste("white", (100, 0, 200, 100))
    data = saved(wide, "PNG")
    assert min(brightness(to_pixels(data, SIDE, fit="crop"))[2:]) > 230  # the edge is filtered with what is beyond
    assert brightness(to_pixels(data, SIDE, fit="stretch"))[2:] == (0, 0)


@pytest.mark.parametrize("size", [(120, 90), (90, 121), (33, 32), (32, 32), (57, 400), (500, 33)])
def test_clip_cuts_where_its_own_preprocessing_cuts(size: tuple[int, int]) -> None:
    width, height = size
    noise = Image.fromarray(np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8))
    short = min(size)
    scaled = noise.resize((int(SIDE * width / short), int(SIDE * height / short)), Image.Resampling.BICUBIC)
    left, top = round((scaled.width - SIDE) / 2.0), round((scaled.height - SIDE) / 2.0)
    expected = np.asarray(scaled.crop((left, top, left + SIDE, top + SIDE)))
    found = to_pixels(saved(noise, "PNG"), SIDE, fit="clip")
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


def test_reduced_decoding_stays_close_to_full_decoding() -> None:
    ramp = np.linspace(0, 255, 1024)[None, :, None] * np.ones((768, 1, 3))
    large = Image.fromarray(ramp.astype(np.uint8))
    by_jpeg = to_pixels(saved(large, "JPEG", quality=95), SIDE).astype(int)
    by_png = to_pixels(saved(large, "PNG"), SIDE).astype(int)
    assert np.abs(by_jpeg - by_png).max() <= 6


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg_header(width: int, height: int) -> bytes:
    """A JPEG whose frame header claims a size."""
    data = saved(Image.new("RGB", (16, 16)), "JPEG")
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + struct.pack(">HH", height, width) + data[start + 4 :]


def gif_header(width: int, height: int) -> bytes:
    data = saved(Image.new("P", (16, 16)), "GIF")
    return data[:6] + struct.pack("<HH", width, height) + data[10:]


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (png_header, (20_000, 20_000)),
        (png_header, (2**31 - 1, 2**31 - 1)),
        (png_header, (10_000, 9_000)),
        (jpeg_header, (65_500, 65_500)),
        (jpeg_header, (8_001, 8_000)),
        (gif_header, (65_535, 65_535)),
    ],
)
def test_header_that_claims_too_many_pixels_is_refused(
    header: Callable[[int, int], bytes], size: tuple[int, int]
) -> None:
    with pytest.raises(EncodeError, match=f"more than {MAX_PIXELS} pixels"):
        to_pixels(header(*size), SIDE)


def test_pixel_limit_can_be_set() -> None:
    data = saved(halves(100, 100), "PNG")
    assert to_pixels(data, SIDE, max_pixels=10_000).shape == (SIDE, SIDE, 3)
    with pytest.raises(EncodeError, match="100 x 100"):
        to_pixels(data, SIDE, max_pixels=9_999)


NOISE = Image.fromarray(np.random.default_rng(7).integers(0, 256, (90, 120, 3), dtype=np.uint8))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_truncated_file_is_refused_wherever_it_is_cut(form: str) -> None:
    data = saved(NOISE, form)
    for cut in {*range(0, len(data) // 2, max(1, len(data) // 40)), 1, 2, 3, 10}:
        with pytest.raises(EncodeError, match="cannot be decoded"):
            to_pixels(data[:cut], SIDE)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_damaged_file_is_decoded_or_refused_and_nothing_else(form: str) -> None:
    data = bytearray(saved(NOISE, form))
    random = np.random.default_rng(11)
    for _ in range(150):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), 3):
            damaged[place] = random.integers(0, 256)
        try:
            assert to_pixels(bytes(damaged), SIDE).shape == (SIDE, SIDE, 3)
        except EncodeError as error:
            assert str(error)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"plain text",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        saved(halves(), "BMP"),
        saved(halves(), "TIFF"),
        saved(halves(), "PPM"),
    ],
    ids=["empty", "text", "svg", "bmp", "tiff", "ppm"],
)
def test_other_formats_are_refused(data: bytes) -> None:
    with pytest.raises(EncodeError, match="cannot be decoded"):
        to_pixels(data, SIDE)
