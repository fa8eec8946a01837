"""Image files made by hand, good and bad, as bytes and as data URLs."""

from __future__ import annotations

import base64
import io
import struct
import zlib

from PIL import Image


def picture(form: str = "PNG", size: tuple[int, int] = (64, 48), colour: str = "teal") -> bytes:
    """One plain image."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, form)
    return file.getvalue()


def moving_gif(frames: int = 4) -> bytes:
    file = io.BytesIO()
    first, *others = [Image.new("P", (40, 30), number) for number in range(frames)]
    first.save(file, "GIF", save_all=True, append_images=others, duration=50)
    return file.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A small, complete PNG file whose header names this size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + _part(b"IHDR", header) + _part(b"IDAT", pixels) + _part(b"IEND", b"")


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
