"""Images whose content has another size than their header says: refused, and no image that agrees with itself."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from gateway.errors import ImageError
from gateway.images.agreement import base64_disagreement, disagreement
from gateway.images.data_url import ImageLimits, check_data_url
from gateway.images.header import ImageHeader, image_size


def drawn(format: str, size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, format, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_second_header(png: bytes, before: bytes = b"") -> bytes:
    return png[:33] + before + chunk(b"IHDR", struct.pack(">IIBBBBB", 7_000, 7_000, 8, 2, 0, 0, 0)) + png[33:]


def with_screen(gif: bytes, width: int, height: int) -> bytes:
    return gif[:6] + struct.pack("<HH", width, height) + gif[10:]


def with_canvas(webp: bytes, width: int, height: int) -> bytes:
    assert webp[12:16] == b"VP8X"
    return webp[:24] + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + webp[30:]


def profiled(format: str, **options: Any) -> bytes:
    return drawn(format, icc_profile=b"p" * 5_000, **options)


def animated(format: str) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (64, 48), color) for color in ("red", "blue")]
    frames[0].save(buffer, format, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


COMMENTED = drawn("GIF", comment=b"c" * 3_000)
CONTRADICTIONS = {
    "second header": with_second_header(drawn("PNG")),
    "second header after others": with_second_header(drawn("PNG"), chunk(b"tEXt", b"k\0" + b"v" * 9_000)),
    "frame beyond the screen": with_screen(drawn("GIF"), 1, 1),
    "frame wider than the screen": with_screen(drawn("GIF"), 63, 48),
    "frame beyond the screen after a comment": with_screen(COMMENTED, 64, 1),
    "animation beyond the screen": with_screen(animated("GIF"), 8, 8),
    "small canvas": with_canvas(profiled("WEBP"), 1, 1),
    "large canvas": with_canvas(profiled("WEBP", lossless=True), 8_000, 8_000),
    "small canvas of an animation": with_canvas(animated("WEBP"), 8, 8),
}
described = PngImagePlugin.PngInfo()
described.add_text("k", "v" * 70_000)
GOOD = {
    "png": drawn("PNG"),
    "png with text": drawn("PNG", pnginfo=described),
    "png with a profile": profiled("PNG"),
    "animated png": animated("PNG"),
    "gif": drawn("GIF"),
    "gif with a comment": COMMENTED,
    "animated gif": animated("GIF"),
    "gif on a larger screen": with_screen(drawn("GIF"), 640, 480),
    "webp": drawn("WEBP"),
    "lossless webp": drawn("WEBP", lossless=True),
    "webp with a profile": profiled("WEBP"),
    "animated webp": animated("WEBP"),
    "jpeg": drawn("JPEG"),
}


@pytest.mark.parametrize("data", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_a_file_that_contradicts_its_header_is_refused(data: bytes) -> None:
    header = image_size(data)
    assert disagreement(header, data)
    assert base64_disagreement(header, base64.b64encode(data)) == disagreement(header, data)
    with pytest.raises(ImageError, match="contradicts itself") as refused:
        check_data_url(f"data:image/png;base64,{base64.b64encode(data).decode()}")
    assert (refused.value.status, refused.value.code) == (400, "invalid_image")


@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD.keys())
def test_a_file_that_agrees_with_itself_passes(data: bytes) -> None:
    header = image_size(data)
    assert disagreement(header, data) is None
    assert base64_disagreement(header, base64.encodebytes(data)) is None


@given(st.sampled_from([*CONTRADICTIONS.values(), *GOOD.values()]), st.integers(0, 400), st.binary(max_size=40))
def test_any_damage_is_found_or_not_and_breaks_nothing(data: bytes, at: int, noise: bytes) -> None:
    damaged = data[:at] + noise + data[at + len(noise) :]
    for format in ("png", "gif", "webp", "jpeg"):
        header = ImageHeader(format, 64, 48)
        disagreement(header, damaged)
        base64_disagreement(header, base64.b64encode(damaged))


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_padding_and_line_breaks_do_not_count_as_bytes(extra: int) -> None:
    data = drawn("JPEG") + bytes(extra)
    limits = ImageLimits(max_bytes=len(data))
    for payload in (base64.b64encode(data), base64.encodebytes(data)):
        url = b"data:image/jpeg;base64," + payload
        assert check_data_url(url, limits).header.width == 64
        with pytest.raises(ImageError, match=f"has {len(data):,} bytes"):
            check_data_url(url, ImageLimits(max_bytes=len(data) - 1))
