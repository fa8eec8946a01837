"""Whether an image's content agrees with its header, by which it is priced: nothing is decoded, no pixel is read.

Decoders would take another size than the header's: of a PNG with a second header before its pixels, of a GIF whose
first frame exceeds its screen, of a WebP whose canvas is not that of its frame.
"""

from __future__ import annotations

from gateway.images.header import (
    FIRST_WINDOW,
    SECOND_WINDOW,
    Buffer,
    HeaderIncomplete,
    ImageHeader,
    NotAnImage,
    decode_window,
    image_size,
)

_MOST_CHUNKS = 1_000
_MOST_SUB_BLOCKS = 100_000
_GIF_FRAME, _GIF_EXTENSION = 0x2C, 0x21
_WEBP_START = b"RIFF\x00\x00\x00\x00WEBP"


def disagreement(header: ImageHeader, data: Buffer) -> str | None:
    """Return what a file has that contradicts its header, or None."""
    try:
        return _found(header, memoryview(data))
    except HeaderIncomplete:
        return None  # no pixels come: decoders fail as well, or the end is checked elsewhere
    except NotAnImage as error:
        return f"a {error}"


def base64_disagreement(
    header: ImageHeader, payload: str | Buffer, start: int = 0, end: int | None = None
) -> str | None:
    """Return `disagreement` of base64 text; what comes before the pixels is decoded, seldom more than a window."""
    if header.format == "jpeg":
        return None
    stop = len(payload) if end is None else min(end, len(payload))
    text = payload if isinstance(payload, str) else memoryview(payload)
    window = FIRST_WINDOW
    while True:
        cut = min(start + window, stop)
        data = decode_window(text[start:cut])
        try:
            return _found(header, memoryview(data))
        except HeaderIncomplete as error:
            need = 0 if error.need is None else (error.need + 2) // 3 * 4
        except NotAnImage:
            return disagreement(header, data)
        if cut >= stop:
            return None
        window = max(SECOND_WINDOW, 4 * window, need)


def _found(header: ImageHeader, data: memoryview) -> str | None:
    if header.format == "png":
        return _png_disagreement(data)
    if header.format == "gif":
        return _gif_disagreement(header, data)
    return _webp_disagreement(header, data) if header.format == "webp" else None


def _png_disagreement(data: memoryview) -> str | None:
    """Walk the chunks from the header to the first pixels (PNG specification, 5.3)."""
    position = 33
    for _ in range(_MOST_CHUNKS):
        name = bytes(_taken("png", data, position, 8)[4:])
        if name == b"IHDR":
            return "a second header"
        if name in (b"IDAT", b"IEND"):
            return None
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return f"{_MOST_CHUNKS} chunks before its pixels"


def _gif_disagreement(header: ImageHeader, data: memoryview) -> str | None:
    """Walk the blocks from the screen to the first frame (GIF89a specification, 17 to 26)."""
    flags = _taken("gif", data, 10, 1)[0]
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    for _ in range(_MOST_CHUNKS):
        block = _taken("gif", data, position, 1)[0]
        if block == _GIF_FRAME:
            left, top, width, height = (
                int.from_bytes(_taken("gif", data, position + at, 2), "little") for at in (1, 3, 5, 7)
            )
            if left + width > header.width or top + height > header.height:
                return f"a frame of {width}x{height} pixels at {left},{top}"
            return None
        if block != _GIF_EXTENSION:
            return None
        position = _past_sub_blocks(data, position + 2)
    return f"{_MOST_CHUNKS} blocks before its first frame"


def _past_sub_blocks(data: memoryview, position: int) -> int:
    for _ in range(_MOST_SUB_BLOCKS):
        size = _taken("gif", data, position, 1)[0]
        position += 1 + size
        if not size:
            return position
    raise NotAnImage(f"GIF with an extension of {_MOST_SUB_BLOCKS} blocks")


def _webp_disagreement(header: ImageHeader, data: memoryview) -> str | None:
    """Walk the chunks from an extended header to the first frame (RFC 9649, 2.7)."""
    if bytes(data[12:16]) != b"VP8X":
        return None
    position = 12
    for _ in range(_MOST_CHUNKS):
        head = _taken("webp", data, position, 8)
        name, size = bytes(head[:4]), int.from_bytes(head[4:8], "little")
        if name in (b"VP8 ", b"VP8L"):
            frame = image_size(_WEBP_START + bytes(_taken("webp", data, position, 18)))
            if (frame.width, frame.height) != (header.width, header.height):
                return f"a frame of {frame.width}x{frame.height} pixels"
            return None
        if name == b"ANMF":
            return _animation_disagreement(header, data, position + 8)
        position += 8 + size + (size & 1)
    return f"{_MOST_CHUNKS} chunks before its first frame"


def _animation_disagreement(header: ImageHeader, data: memoryview, position: int) -> str | None:
    numbers = _taken("webp", data, position, 12)
    x, y, width, height = (int.from_bytes(numbers[at : at + 3], "little") for at in (0, 3, 6, 9))
    if 2 * x + width + 1 > header.width or 2 * y + height + 1 > header.height:
        return f"a frame of {width + 1}x{height + 1} pixels at {2 * x},{2 * y}"
    position += 16
    for _ in range(3):
        head = _taken("webp", data, position, 8)
        name, size = bytes(head[:4]), int.from_bytes(head[4:8], "little")
        if name in (b"VP8 ", b"VP8L"):
            frame = image_size(_WEBP_START + bytes(_taken("webp", data, position, 18)))
            is_same = (frame.width, frame.height) == (width + 1, height + 1)
            return None if is_same else f"a frame of {frame.width}x{frame.height} pixels"
        position += 8 + size + (size & 1)
    return None


def _taken(format: str, data: memoryview, position: int, size: int) -> memoryview:
    if len(data) < position + size:
        raise HeaderIncomplete(format, position + size)
    return data[position : position + size]
