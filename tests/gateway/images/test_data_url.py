"""Data URLs: taken apart without a copy, checked by the header, refused with the parameter at fault."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway.errors import ImageError
from gateway.images.data_url import DataUrl, ImageLimits, check_data_url, is_data_url, parse_data_url
from gateway.images.header import ImageHeader

PARAM = "messages[0].content[1].image_url"


def drawn(format: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, format)
    return buffer.getvalue()


def png_of(width: int, height: int) -> bytes:
    data = bytearray(drawn())
    data[16:24] = struct.pack(">II", width, height)
    return bytes(data)


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize("kind", [str, str.encode, lambda url: memoryview(url.encode())], ids=["str", "bytes", "view"])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP"])
def test_an_image_passes_with_its_size_and_the_span_of_its_payload(
    format: str, kind: Callable[[str], str | bytes | memoryview]
) -> None:
    url = data_url(drawn(format), f"image/{format.lower()}")
    image = check_data_url(kind(url), param=PARAM)
    assert image.header == ImageHeader(format.lower(), 40, 30)
    assert base64.b64decode(url[image.url.start : image.url.end]) == drawn(format)


@pytest.mark.parametrize(
    "start",
    [
        "data:image/png;base64,",
        "DATA:IMAGE/PNG;BASE64,",
        "data:image/png;charset=utf-8;base64,",
        "data: image/png ; base64,",
    ],
)
def test_every_way_to_write_the_start_is_read(start: str) -> None:
    assert parse_data_url(f"{start}AAAA") == DataUrl("image/png", len(start), len(start) + 4)
    assert is_data_url(start)


def test_the_bytes_decide_what_an_image_is_not_its_declaration() -> None:
    assert check_data_url(data_url(drawn("JPEG"), "image/png")).header.format == "jpeg"


@pytest.mark.parametrize(
    ("url", "status", "code", "says"),
    [
        ("", 400, "invalid_image", "data:"),
        ("https://images.example/a.png", 400, "invalid_image", "data:"),
        ("data:image/png;base64", 400, "invalid_image", "comma"),
        ("data:image/png;base64" + "x" * 300 + ",AAAA", 400, "invalid_image", "comma"),
        ("data:image/png;base64,", 400, "invalid_image", "no data"),
        ("data:image/png,AAAA", 400, "invalid_image", "base64"),
        ("data:image/png;base64;charset=x,AAAA", 400, "invalid_image", "base64"),
        ("data:,hello", 400, "invalid_image", "base64"),
        ("data:;base64,AAAA", 415, "image_type_unsupported", "none declared"),
        ("data:text/html;base64,PGh0bWw+", 415, "image_type_unsupported", "text/html"),
        ("data:application/pdf;base64,AAAA", 415, "image_type_unsupported", "application/pdf"),
        (data_url(b"<svg xmlns=''/>", "image/svg+xml"), 415, "image_type_unsupported", "SVG"),
        (data_url(b"<!doctype html><p>"), 415, "image_type_unsupported", "text/html"),
        (data_url(b"%PDF-1.7"), 415, "image_type_unsupported", "PDF"),
        (data_url(png_of(0, 30)), 415, "image_type_unsupported", "0x30"),
        ("data:image/png;base64,????", 415, "image_type_unsupported", "empty"),
        ("data:image/png;base64,ünïcödé", 415, "image_type_unsupported", "not base64"),
        (data_url(drawn()[:20]), 400, "invalid_image", "header"),
        (data_url(drawn()[:5]), 400, "invalid_image", "header"),
        (data_url(drawn()[:60]), 400, "invalid_image", "cut short"),
        (data_url(drawn()[:-1]), 400, "invalid_image", "cut short"),
        (data_url(png_of(20_000, 20_000)), 413, "image_too_large", "20000x20000"),
    ],
)
def test_what_is_no_image_is_refused_with_its_reason(url: str, status: int, code: str, says: str) -> None:
    with pytest.raises(ImageError, match=says) as refusal:
        check_data_url(url, param=PARAM)
    assert (refusal.value.status, refusal.value.code, refusal.value.param) == (status, code, PARAM)
    assert len(refusal.value.message) < 300


def test_more_bytes_than_the_limit_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(ImageError, match="at most 1,000") as refusal:
        check_data_url("data:image/png;base64," + "?" * 2_000, ImageLimits(max_bytes=1_000))
    assert refusal.value.status == 413


def without_padding() -> bytes:
    """An image whose base64 has no padding: its bytes are just three quarters of its characters."""
    return next(data for width in range(10, 60) if len(data := drawn(size=(width, 30))) % 3 == 0)


def test_an_image_of_just_the_limit_passes_and_one_of_a_byte_more_does_not() -> None:
    data = without_padding()
    size = len(data)
    assert check_data_url(data_url(data), ImageLimits(max_bytes=size)).header.format == "png"
    with pytest.raises(ImageError, match=f"has {size} bytes; at most {size - 1} are accepted") as refusal:
        check_data_url(data_url(data), ImageLimits(max_bytes=size - 1))
    assert (refusal.value.status, refusal.value.code, refusal.value.param) == (413, "image_too_large", None)


def test_an_image_of_just_the_limit_of_pixels_passes_and_one_of_a_pixel_more_does_not() -> None:
    url = data_url(drawn(size=(40, 30)))
    assert check_data_url(url, ImageLimits(max_pixels=1_200)).header == ImageHeader("png", 40, 30)
    with pytest.raises(ImageError, match="40x30 pixels; at most 1,199 pixels"):
        check_data_url(url, ImageLimits(max_pixels=1_199))


def test_the_comma_may_stand_behind_256_characters_and_no_more() -> None:
    start = "data:image/png;" + "x" * (256 - len("data:image/png;;base64")) + ";base64"
    assert parse_data_url(f"{start},AAAA") == DataUrl("image/png", 257, 261)
    with pytest.raises(ImageError, match="no comma within its first 256 characters"):
        parse_data_url(f"{start.replace('x', 'xx', 1)},AAAA")


def test_what_is_declared_is_shown_without_what_cannot_be_printed() -> None:
    with pytest.raises(ImageError, match=r"\(text/\?x\)") as refusal:
        parse_data_url("data:text/\x07x;base64,AAAA")
    assert refusal.value.param is None


@given(st.one_of(st.text(max_size=200), st.text(max_size=100).map("data:image/png;base64,".__add__)))
def test_any_text_passes_or_is_refused(url: str) -> None:
    try:
        check_data_url(url)
    except ImageError as refusal:
        assert refusal.status in (400, 413, 415)
