"""The format and pixel size of an image from its header alone: nothing is decoded, no pixel is read.

Rule: for any bytes, the result is an ImageHeader, NotAnImage or HeaderIncomplete, in bounded time.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass

Buffer = bytes | bytearray | memoryview

FIRST_WINDOW = 64
"""Base64 characters decoded at first: enough for PNG, GIF and WebP."""
SECOND_WINDOW = 1024
"""The least number of base64 characters decoded after that: enough for a JPEG without metadata."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xae\x42\x60\x82"
_GIF = (b"GIF87a", b"GIF89a")
_JPEG = b"\xff\xd8\xff"
_LEAST = {"png": 24, "gif": 10, "webp": 30}

# Real files stay far below both limits; without limits, a file that is only markers would be read completely.
_MOST_JPEG_SEGMENTS = 1_000
_MOST_JPEG_FILL = 64
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # without DHT, JPG and DAC
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM and RSTn have no length
_JPEG_END_OF_IMAGE, _JPEG_START_OF_SCAN = 0xD9, 0xDA


class NotAnImage(ValueError):
    """The bytes are not a PNG, JPEG, GIF or WebP; the message says what they look like."""


class HeaderIncomplete(ValueError):
    """The bytes end inside the header. `need` is how many bytes from the start would help, if known."""

    def __init__(self, format: str, need: int | None = None) -> None:
        super().__init__(f"{format.upper()} header cut short")
        self.need = need


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The content of a header: `png`, `jpeg`, `gif` or `webp`, and pixels as stored, before any EXIF rotation."""

    format: str
    width: int
    height: int

    @property
    def media_type(self) -> str:
        return f"image/{self.format}"

    @property
    def pixels(self) -> int:
        return self.width * self.height


def image_size(head: Buffer) -> ImageHeader:
    """Read the header at the start of `head`, which may be the whole file or only its beginning.

    Raises NotAnImage or HeaderIncomplete, and nothing else.
    """
    start = bytes(head[:32])
    if start.startswith(_JPEG):
        return _jpeg(memoryview(head))
    if start.startswith(_PNG):
        return _png(start)
    if start.startswith(_GIF):
        return _gif(start)
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return _webp(start)
    for signature in (_PNG, _JPEG, *_GIF):
        if start and signature.startswith(start):
            raise HeaderIncomplete("image", 32)
    if len(start) < 12 and start and b"RIFF".startswith(start[:4]):
        raise HeaderIncomplete("webp", _LEAST["webp"])
    raise NotAnImage(name_bytes(bytes(head[:512])))


def base64_image_size(payload: str | Buffer, start: int = 0, end: int | None = None) -> ImageHeader:
    """Return `image_size` of base64 text (`payload[start:end]`), decoding only as much of it as the header needs.

    Accepts white space between the characters, as in line-wrapped MIME. Raises the same errors as `image_size`.
    """
    stop = len(payload) if end is None else min(end, len(payload))
    text = payload if isinstance(payload, str) else memoryview(payload)
    window = FIRST_WINDOW
    while True:
        cut = min(start + window, stop)
        try:
            return image_size(decode_window(text[start:cut]))
        except HeaderIncomplete as error:
            if cut >= stop:
                raise
            need = 0 if error.need is None else (error.need + 2) // 3 * 4
            window = max(SECOND_WINDOW, 4 * window, need)


def is_cut_short(header: ImageHeader, data: Buffer) -> bool:
    """Return whether the file ends before its image does: a PNG without its end chunk, a WebP below its stated length.

    JPEG and GIF files always pass, because decoders accept them without an end marker.
    """
    if header.format == "png":
        # The end chunk is the file's end, unless something is appended; such files are searched.
        return bytes(data[-8:]) != _PNG_END and _PNG_END not in bytes(data)
    if header.format == "webp":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return False


def base64_is_cut_short(header: ImageHeader, payload: str | Buffer, start: int = 0, end: int | None = None) -> bool:
    """Return `is_cut_short` of base64 text. Only an unusual file has to be decoded completely for this."""
    if header.format not in ("png", "webp"):
        return False
    stop = len(payload) if end is None else min(end, len(payload))
    text = payload if isinstance(payload, str) else memoryview(payload)
    if header.format == "png" and (stop - start) % 4 == 0:
        try:
            if decode_window(text[max(start, stop - 16) : stop]).endswith(_PNG_END):
                return False
        except NotAnImage:
            return True
    if header.format == "webp":
        stated = 8 + int.from_bytes(decode_window(text[start : start + FIRST_WINDOW])[4:8], "little")
        tail = _ascii(text[max(start, stop - 2) : stop])
        return (stop - start) * 3 // 4 - tail.count(b"=") < stated
    return is_cut_short(header, decode_window(text[start:stop]))


def name_bytes(start: bytes) -> str:
    """Return what bytes that are not an image look like, for a message: `SVG`, `text/html`, `PDF`, `empty`, ..."""
    if not start:
        return "empty"
    for signature, name in _OTHERS:
        if start.startswith(signature):
            return name
    if start[4:8] == b"ftyp":
        return {b"avif": "AVIF", b"avis": "AVIF"}.get(start[8:12], "HEIC" if start[8:10] == b"he" else "MP4")
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if re.match(rb"<!doctype html|<html|<head|<body|<script", text):
        return "text/html"
    if text.startswith((b"<svg", b"<?xml", b"<!doctype svg", b"<!--")):
        return "SVG" if b"<svg" in text or b"doctype svg" in text else "XML"
    if text.startswith((b"{", b"[")):
        return "JSON"
    if all(byte >= 0x20 or byte in b"\t\r\n" for byte in start) and start.isascii():
        return "text"
    return f"bytes {start[:8].hex(' ')}"


_OTHERS = (
    (b"%PDF-", "PDF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"8BPS", "PSD"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"RIFF", "RIFF that is not WebP"),
)


def _png(start: bytes) -> ImageHeader:
    _require(start, "png")
    if start[8:16] != b"\x00\x00\x00\rIHDR":
        raise NotAnImage("PNG without its IHDR chunk")
    return _sized("png", int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big"))


def _gif(start: bytes) -> ImageHeader:
    _require(start, "gif")
    return _sized("gif", int.from_bytes(start[6:8], "little"), int.from_bytes(start[8:10], "little"))


def _webp(start: bytes) -> ImageHeader:
    """Read lossy (`VP8 `), lossless (`VP8L`) and extended (`VP8X`) files, as in RFC 9649."""
    _require(start, "webp")
    kind = start[12:16]
    if kind == b"VP8X":
        return _sized("webp", 1 + int.from_bytes(start[24:27], "little"), 1 + int.from_bytes(start[27:30], "little"))
    if kind == b"VP8L" and start[20] == 0x2F:
        bits = int.from_bytes(start[21:25], "little")
        return _sized("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 " and start[23:26] == b"\x9d\x01\x2a":
        width, height = int.from_bytes(start[26:28], "little"), int.from_bytes(start[28:30], "little")
        return _sized("webp", width & 0x3FFF, height & 0x3FFF)
    raise NotAnImage("WebP without a frame that is known")


def _jpeg(data: memoryview) -> ImageHeader:
    """Walk the segments, past EXIF and colour profiles of any size, to the frame (ITU-T T.81, annex B)."""
    position, size = 2, len(data)
    for _ in range(_MOST_JPEG_SEGMENTS):
        position = _jpeg_marker(data, position, size)
        marker = data[position]
        if marker in _JPEG_BARE:
            position += 1
            continue
        if marker in (_JPEG_END_OF_IMAGE, _JPEG_START_OF_SCAN):
            raise NotAnImage("JPEG without a frame before its pixels")
        if size < position + 3:
            raise HeaderIncomplete("jpeg", position + 8)
        length = data[position + 1] << 8 | data[position + 2]
        if length < 2:
            raise NotAnImage("JPEG with a segment of no length")
        if marker in _JPEG_FRAMES:
            return _jpeg_frame(data, position, length)
        position += 1 + length
    raise NotAnImage(f"JPEG with {_MOST_JPEG_SEGMENTS} segments before its frame")


def _jpeg_marker(data: memoryview, position: int, size: int) -> int:
    """Return the position of the next marker's code; 0xFF may fill the space before it."""
    if position < size and data[position] != 0xFF:
        raise NotAnImage("JPEG with a broken segment")
    for at in range(position + 1, position + 1 + _MOST_JPEG_FILL):
        if at >= size:
            raise HeaderIncomplete("jpeg", at + 9)
        if data[at] != 0xFF:
            return at
    raise NotAnImage("JPEG with a broken segment")


def _jpeg_frame(data: memoryview, position: int, length: int) -> ImageHeader:
    if length < 7:
        raise NotAnImage("JPEG with a frame too short for a size")
    if len(data) < position + 8:
        raise HeaderIncomplete("jpeg", position + 8)
    height, width = data[position + 4 : position + 6], data[position + 6 : position + 8]
    return _sized("jpeg", int.from_bytes(width, "big"), int.from_bytes(height, "big"))


def _require(start: bytes, format: str) -> None:
    if len(start) < _LEAST[format]:
        raise HeaderIncomplete(format, _LEAST[format])


def _sized(format: str, width: int, height: int) -> ImageHeader:
    if width == 0 or height == 0:
        raise NotAnImage(f"{format.upper()} of {width}x{height} pixels")
    return ImageHeader(format, width, height)


def decode_window(text: str | memoryview) -> bytes:
    """Decode a window of base64 that may be cut anywhere."""
    try:
        return binascii.a2b_base64(text)
    except binascii.Error:
        pass  # a cut inside a group of four, or white space that shifts the groups
    except ValueError as error:
        raise NotAnImage("text that is not base64") from error
    clean = re.sub(rb"[^A-Za-z0-9+/]", b"", _ascii(text))
    odd = len(clean) % 4
    return binascii.a2b_base64(clean[:-1] if odd == 1 else clean + b"=" * (-odd % 4))


def _ascii(text: str | memoryview) -> bytes:
    return text.encode("ascii", "replace") if isinstance(text, str) else bytes(text)
