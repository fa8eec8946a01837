"""What an image may be, and the refusals that say so: one wording for images sent along and images fetched."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import ImageError
from gateway.images.header import ImageHeader

TAKEN = "PNG, JPEG, GIF and WebP are accepted"


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Limits of one image: bytes of the file, and pixels as its header states them."""

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 64_000_000


@dataclass(frozen=True, slots=True)
class Subject:
    """The image that a refusal speaks of: what it is called, and where it stands in the request."""

    name: str = "The image"
    param: str | None = None

    def refuse(self, what: str, code: str, status: int = 400) -> ImageError:
        """The error to raise; `what` goes on from the name."""
        return ImageError(f"{self.name} {what}", param=self.param, code=code, status=status)

    def broken(self, what: str) -> ImageError:
        return self.refuse(what, "invalid_image")

    def unsupported(self, seen: str) -> ImageError:
        """415: what was seen instead of an image."""
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
