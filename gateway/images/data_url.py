"""Images that come inside the request, as `data:image/png;base64,...`: found and checked without a copy."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import ImageError
from gateway.images.agreement import base64_disagreement
from gateway.images.header import (
    HeaderIncomplete,
    ImageHeader,
    NotAnImage,
    base64_image_size,
    base64_is_cut_short,
)

TAKEN = "PNG, JPEG, GIF and WebP are accepted"

LONGEST_HEADER = 256
"""Largest number of characters before the comma; real data URLs have about 23."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The limits of one image: bytes of the file, and pixels as its header states them."""

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 64_000_000


DEFAULT_LIMITS = ImageLimits()


@dataclass(frozen=True, slots=True)
class DataUrl:
    """A parsed data URL: the declared media type, and where in the text the base64 payload is."""

    media_type: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class DataImage:
    """A data URL whose image passed the checks. The real format (`header`) may differ from the type that `url`
    declares.
    """

    url: DataUrl
    header: ImageHeader


def is_data_url(url: str) -> bool:
    return url[:5].lower() == "data:"


def parse_data_url(url: str | bytes | memoryview, param: str | None = None) -> DataUrl:
    """Parse a data URL. Raises ImageError (400, or 415 for a media type that is not an image)."""
    subject = Subject("The image's data URL", param)
    first = url[: LONGEST_HEADER + 1]
    head = first if isinstance(first, str) else bytes(first).decode("latin-1")
    header, comma, _ = head.partition(",")
    if header[:5].lower() != "data:":
        raise subject.broken("does not start with `data:`.")
    if not comma:
        raise subject.broken(f"has no comma within its first {LONGEST_HEADER} characters.")
    media_type, *parameters = (part.strip().lower() for part in header[5:].split(";"))
    if not parameters or parameters[-1] != "base64":
        raise subject.broken("is not base64: it must read `data:image/...;base64,...`.")
    if not media_type.startswith("image/"):
        raise subject.unsupported(_printable(media_type) or "none declared")
    start = len(header) + 1
    if len(url) == start:
        raise subject.broken("holds no data after the comma.")
    return DataUrl(media_type, start, len(url))


def check_data_url(
    url: str | bytes | memoryview, limits: ImageLimits = DEFAULT_LIMITS, param: str | None = None
) -> DataImage:
    """Check an image by its header: its type by its first bytes, its size, and that the end of the file is present.

    Takes microseconds for a usual file, because only a few hundred characters are decoded. Raises ImageError: 400
    broken, 413 too large, 415 not an accepted image type. `param` is the image's place:
    `messages[0].content[1].image_url`.
    """
    parsed = parse_data_url(url, param)
    subject = Subject(param=param)
    if (parsed.end - parsed.start) * 3 // 4 > limits.max_bytes:
        check_bytes(subject, _decoded_size(url[parsed.start : parsed.end]), limits)
    try:
        header = base64_image_size(url, parsed.start, parsed.end)
        cut_short = base64_is_cut_short(header, url, parsed.start, parsed.end)
        other = None if cut_short else base64_disagreement(header, url, parsed.start, parsed.end)
    except NotAnImage as error:
        raise subject.unsupported(str(error)) from error
    except HeaderIncomplete as error:
        raise subject.broken(f"ends inside its header ({error}).") from error
    check_pixels(subject, header, limits)
    check_agreement(subject, header, other)
    if cut_short:
        raise subject.broken(f"ends before its last pixel: the {header.format.upper()} is cut short.")
    return DataImage(parsed, header)


def _decoded_size(payload: str | bytes | memoryview) -> int:
    """Return the bytes of base64 text: padding and white space are none."""
    raw = payload.encode("utf-8", "replace") if isinstance(payload, str) else bytes(payload)
    return len(raw.translate(None, b"= \t\r\n")) * 3 // 4


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


@dataclass(frozen=True, slots=True)
class Subject:
    """The image that a refusal is about: its name in the message, and its place in the request."""

    name: str = "The image"
    param: str | None = None

    def refuse(self, what: str, code: str, status: int = 400) -> ImageError:
        """Return the error to raise; `what` continues the sentence that the name begins."""
        return ImageError(f"{self.name} {what}", param=self.param, code=code, status=status)

    def broken(self, what: str) -> ImageError:
        return self.refuse(what, "invalid_image")

    def unsupported(self, seen: str) -> ImageError:
        """Return the 415 error, naming what was found instead of an image."""
        return self.refuse(f"is of an unsupported type ({seen}); {TAKEN}.", "image_type_unsupported", 415)

    def too_large(self, what: str) -> ImageError:
        return self.refuse(what, "image_too_large", 413)


def check_bytes(subject: Subject, size: int, limits: ImageLimits) -> None:
    """Refuse a file of more bytes than the limit (413)."""
    if size > limits.max_bytes:
        raise subject.too_large(f"has {size:,} bytes; at most {limits.max_bytes:,} are accepted.")


def check_pixels(subject: Subject, header: ImageHeader, limits: ImageLimits) -> None:
    """Refuse an image of more pixels than the limit (413), before anything decodes it."""
    if header.pixels > limits.max_pixels:
        raise subject.too_large(
            f"has {header.width}x{header.height} pixels; at most {limits.max_pixels:,} pixels are accepted."
        )


def check_agreement(subject: Subject, header: ImageHeader, other: str | None) -> None:
    """Refuse an image that has something else than its header says (400): it could be billed as that."""
    if other is not None:
        stated = f"{header.width}x{header.height}"
        raise subject.broken(
            f"contradicts itself: the {header.format.upper()} header says {stated}, and it has {other}."
        )
