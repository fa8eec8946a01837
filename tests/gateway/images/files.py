"""Sound and PDF files, as small as they can be."""

from __future__ import annotations

import io
import wave
import zlib


def wav(seconds: int, *, samples: int = 16_000, channels: int = 1, width: int = 2) -> bytes:
    """Silence, as plain WAV of `width` bytes a sample."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(samples)
        file.writeframes(bytes(seconds * samples * channels * width))
    return buffer.getvalue()


def pdf_of(pages: int, *, text: bytes = b"", packed: bool = False) -> bytes:
    """A PDF of so many pages, each with a content stream that shows `text`; `packed`: in an object stream."""
    kids = b" ".join(b"%d 0 R" % (number + 10) for number in range(pages))
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [%b] /Count %d >>" % (kids, pages)]
    objects += [b"<< /Type /Page /Parent 2 0 R /Contents 5 0 R >>"] * pages
    shown = b"BT /F1 12 Tf (%b) Tj ET" % text if text else b""
    content = _stream(b"", shown) * pages
    if packed:
        return b"%PDF-1.5\n" + _stream(b"/Type /ObjStm /N 9 /First 9 ", b" ".join(objects)) + content + b"%%EOF"
    plain = b"".join(b"%d 0 obj\n%b\nendobj\n" % pair for pair in enumerate(objects, 1))
    return b"%PDF-1.4\n" + plain + content + b"%%EOF"


def _stream(entries: bytes, data: bytes) -> bytes:
    packed = zlib.compress(data)
    start = b"9 0 obj\n<< %b/Length %d /Filter /FlateDecode >>\nstream\n" % (entries, len(packed))
    return start + packed + b"\nendstream\nendobj\n"
