"""Header reading: every format, every cut, and bytes that mean harm."""

from __future__ import annotations

import base64
import io
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.images.header import (
    HeaderIncomplete,
    ImageHeader,
    NotAnImage,
    base64_image_size,
    base64_is_cut_short,
    image_size,
    is_cut_short,
)
from tests.checks.work import work_of
from tests.shared import SHARED_DATA, needs_shared_data

FORMATS = ["PNG", "JPEG", "GIF", "WEBP"]
STARTS = [
    b"\x89PNG\r\n\x1a\n",
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    b"\xff\xd8\xff",
    b"\xff\xd8\xff\xe0\x00\x04",
    b"GIF89a",
    b"RIFF\x00\x01\x00\x00WEBP",
    b"RIFF\x00\x01\x00\x00WEBPVP8X",
    b"RIFF\x00\x01\x00\x00WEBPVP8L",
    b"",
]


def drawn(format: str, size: tuple[int, int] = (123, 45), **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, format, **options)
    return buffer.getvalue()


def jpeg_with_metadata(size: int) -> bytes:
    """A JPEG with `size` bytes of EXIF and colour profile before its frame."""
    plain = drawn("JPEG")
    segments = b""
    while len(segments) < size:
        segments += b"\xff\xe1" + struct.pack(">H", 65_535) + b"\xff\xd8\xff\xc0" + bytes(65_529)
    return plain[:2] + segments + plain[2:]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (123, 45), (45, 123), (1023, 257)])
def test_size_agrees_with_pillow(format: str, size: tuple[int, int]) -> None:
    assert image_size(drawn(format, size)) == ImageHeader(format.lower(), *size)


@pytest.mark.parametrize(
    "options", [{"lossless": True}, {"lossless": False}, {"exif": b"Exif\x00\x00MM\x00*"}], ids=str
)
def test_every_kind_of_webp_is_read(options: dict[str, object]) -> None:
    assert image_size(drawn("WEBP", (321, 77), **options)) == ImageHeader("webp", 321, 77)


def test_progressive_jpeg_is_read() -> None:
    assert image_size(drawn("JPEG", progressive=True)) == ImageHeader("jpeg", 123, 45)


def test_jpeg_frame_is_found_past_a_large_exif_and_its_embedded_frame() -> None:
    data = jpeg_with_metadata(400_000)
    assert image_size(data) == ImageHeader("jpeg", 123, 45)
    assert base64_image_size(base64.b64encode(data)) == ImageHeader("jpeg", 123, 45)


def test_jpeg_need_leads_to_the_frame_in_few_steps() -> None:
    data = jpeg_with_metadata(400_000)
    have, steps = 64, 0
    while steps < 20:
        try:
            image_size(data[:have])
            break
        except HeaderIncomplete as error:
            assert error.need is not None
            assert error.need > have
            have, steps = error.need, steps + 1
    assert steps < 20


def test_jpeg_fill_bytes_before_a_marker_are_passed() -> None:
    data = drawn("JPEG")
    assert image_size(data[:2] + b"\xff" * 20 + data[2:]) == ImageHeader("jpeg", 123, 45)


@pytest.mark.parametrize("format", FORMATS)
def test_every_cut_inside_the_header_is_incomplete_and_never_another_error(format: str) -> None:
    data = drawn(format)
    whole = image_size(data)
    for length in range(1, len(data)):
        try:
            assert image_size(data[:length]) == whole
        except HeaderIncomplete as error:
            assert error.need is None or error.need > length
    with pytest.raises(NotAnImage, match="empty"):
        image_size(b"")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\xef\xbb\xbf\n<?xml version='1.0'?><!-- x --><svg/>", "SVG"),
        (b"<?xml version='1.0'?><feed/>", "XML"),
        (b"<!DOCTYPE html><html>", "text/html"),
        (b"  <HTML><body>", "text/html"),
        (b"%PDF-1.7\n", "PDF"),
        (b'{"error": 1}', "JSON"),
        (b"hello", "text"),
        (b"BM\x00\x00", "BMP"),
        (b"II*\x00", "TIFF"),
        (b"PK\x03\x04", "ZIP"),
        (b"\x00\x00\x00\x1cftypavif", "AVIF"),
        (b"\x00\x00\x00\x1cftypheic", "HEIC"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "RIFF that is not WebP"),
        (b"\x00\x01\x02\x03", "bytes 00 01 02 03"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x04CgBI" + bytes(8), "PNG without its IHDR"),
        (b"\xff\xd8\xff\xda\x00\x08" + bytes(20), "without a frame"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, name: str) -> None:
    with pytest.raises(NotAnImage, match=name):
        image_size(data)


@pytest.mark.parametrize("format", FORMATS)
def test_zero_size_is_refused(format: str) -> None:
    data = bytearray(drawn(format, lossless=False) if format == "WEBP" else drawn(format))
    offset = {"PNG": 16, "GIF": 6, "WEBP": 26, "JPEG": data.find(b"\xff\xc0") + 7}[format]
    data[offset : offset + 2] = b"\x00\x00"
    if format == "PNG":
        data[18:20] = b"\x00\x00"
    with pytest.raises(NotAnImage, match="0"):
        image_size(data)


@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=2_000))
@settings(max_examples=9 * settings().max_examples)
def test_any_bytes_give_a_header_or_one_of_the_two_refusals(start: bytes, rest: bytes) -> None:
    text = base64.b64encode(start + rest)
    assert _answer(start + rest) == _base64_answer(text) == _base64_answer(text.decode())


@given(format=st.sampled_from(FORMATS), at=st.integers(0, 700), noise=st.binary(min_size=1, max_size=30))
@settings(max_examples=5 * settings().max_examples)
def test_a_damaged_image_gives_a_header_or_one_of_the_two_refusals(format: str, at: int, noise: bytes) -> None:
    data = drawn(format)
    damaged = data[:at] + noise + data[at + len(noise) :]
    answer = _answer(damaged)
    if isinstance(answer, ImageHeader):
        assert answer.pixels > 0
        is_cut_short(answer, damaged)
        base64_is_cut_short(answer, base64.b64encode(damaged))


@given(st.one_of(st.text(max_size=400), st.binary(max_size=400)), st.integers(0, 50))
def test_any_text_as_base64_gives_one_of_the_two_refusals_or_a_header(text: str | bytes, start: int) -> None:
    _base64_answer(text, start)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * 5_000_000,
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 1_250_000,
        b"\xff\xd8\xff" + b"\x01\xff" * 2_500_000,
    ],
    ids=["fill", "empty segments", "bare markers"],
)
def test_five_megabytes_of_markers_are_refused_after_the_first_kilobytes(data: bytes) -> None:
    text = base64.b64encode(data)

    def refused() -> None:
        with pytest.raises(NotAnImage):
            base64_image_size(text)

    work = work_of(refused)
    assert work.lines < 40_000 and work.calls < 3_000 and work.peak_bytes < 40_000, work


def test_base64_is_decoded_only_as_far_as_the_header_goes() -> None:
    head = base64.b64encode(drawn("PNG")[:45])
    text = head + b"!" * 1_000_000  # would not decode
    assert base64_image_size(text) == ImageHeader("png", 123, 45)


@pytest.mark.parametrize("format", FORMATS)
def test_base64_may_be_wrapped_in_lines_unpadded_or_a_span_of_a_larger_text(format: str) -> None:
    data = drawn(format) if format != "JPEG" else jpeg_with_metadata(70_000)
    expected = image_size(data)
    wrapped = base64.encodebytes(data)
    unpadded = base64.b64encode(data).rstrip(b"=")
    inside = b"data:x;base64," + base64.b64encode(data) + b'"}}'
    assert base64_image_size(wrapped) == expected
    assert base64_image_size(unpadded) == expected
    assert base64_image_size(memoryview(inside), 14, len(inside) - 3) == expected
    assert base64_image_size(inside.decode(), 14, len(inside) - 3) == expected
    for text in (wrapped, unpadded):
        assert not base64_is_cut_short(expected, text)
    assert not base64_is_cut_short(expected, inside, 14, len(inside) - 3)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_a_file_that_ends_early_is_noticed(format: str) -> None:
    data = drawn(format, (640, 480))
    header = image_size(data)
    assert not is_cut_short(header, data)
    assert not is_cut_short(header, data + b"appended")
    assert not base64_is_cut_short(header, base64.b64encode(data + b"appended"))
    for length in (40, len(data) // 2, len(data) - 1):
        assert is_cut_short(header, data[:length])
        assert base64_is_cut_short(header, base64.b64encode(data[:length]))


def test_the_size_of_a_large_payload_is_read_from_its_first_characters() -> None:
    """133 KB of base64, and no copy of it."""
    pixels = random.Random(1).randbytes(183 * 183 * 3)
    buffer = io.BytesIO()
    Image.frombytes("RGB", (183, 183), pixels).save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue())
    assert len(text) > 130_000
    work = work_of(lambda: base64_image_size(text))
    assert work.lines < 50 and work.calls < 50 and work.peak_bytes < 4_000, work


@needs_shared_data
def test_real_images_of_the_shared_tables_are_read() -> None:
    paths = sorted(path for path in SHARED_DATA.rglob("*") if path.suffix in (".png", ".jpg", ".jpeg"))[:200]
    assert paths
    for path in paths:
        data = path.read_bytes()
        with Image.open(path) as image:
            assert image_size(data) == ImageHeader(str(image.format).lower(), *image.size)
        assert base64_image_size(base64.b64encode(data)) == image_size(data)
        assert not is_cut_short(image_size(data), data)


def _answer(data: bytes) -> ImageHeader | type[ValueError]:
    try:
        return image_size(data)
    except (NotAnImage, HeaderIncomplete) as error:
        return type(error)


def _base64_answer(text: str | bytes, start: int = 0) -> ImageHeader | type[ValueError]:
    try:
        return base64_image_size(text, start)
    except (NotAnImage, HeaderIncomplete) as error:
        return type(error)
