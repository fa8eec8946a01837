"""Image files to pixels: the header is checked first, and the decoder runs at the smallest sufficient scale.

Pixels are returned as uint8 [side, side, 3] in RGB; normalisation belongs to each encoder's graph.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.base import EncodeError

Fit = Literal["crop", "stretch", "clip"]
"""Ways to make an image square. `crop` cuts the centre square, `stretch` takes the whole image and gives up its
proportions, and `clip` cuts the centre square as CLIP's own preprocessing does, which first scales to whole pixels: up
to half a pixel different from `crop`."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MAX_PIXELS = 64_000_000

# Pillow's decoders raise any error that the format's own parsing raises; all these errors mean "this file is broken".
# Pillow's warnings are raised only in a process that turns warnings into errors.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    struct.error,
    zlib.error,
    Warning,
)
# Pillow's own guard; `max_pixels` is lower, but Pillow may refuse a header before `max_pixels` is checked.
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_pixels(data: bytes, side: int, *, fit: Fit = "crop", max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Return the image in a file as [side, side, 3], upright, on white where it is transparent, first frame only.

    Raises EncodeError for a file that is not a JPEG, PNG, WebP or GIF, is broken, or has more than `max_pixels`
    (according to its header, before anything is decoded).
    """
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            _refuse_bomb(image, max_pixels)
            image.draft(None, (side, side))  # JPEG only: decodes at 1/2, 1/4 or 1/8, never below `side`
            image.load()
            small = _upright(_squared(_plain(image), side, fit), image)
            return np.asarray(_on_white(small), dtype=np.uint8)
    except _BOMB as error:
        raise EncodeError(f"the image's header claims more than {max_pixels} pixels") from error
    except _BROKEN as error:
        raise EncodeError(f"the image cannot be decoded: {error or type(error).__name__}") from error


def _refuse_bomb(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise EncodeError(f"the image is {width} x {height}: more than {max_pixels} pixels")
    if not width or not height:
        raise EncodeError(f"the image is {width} x {height}: it has no pixels")


def _plain(image: Image.Image) -> Image.Image:
    """Return the image in a mode that resizes well: RGB, L, or RGBA where parts are transparent."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion clips instead of scaling
        high_bytes = np.asarray(image, dtype=np.uint32) >> 8
        return Image.fromarray(high_bytes.astype(np.uint8))
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


def _squared(image: Image.Image, side: int, fit: Fit) -> Image.Image:
    width, height = image.size
    if fit == "stretch":
        box = (0.0, 0.0, float(width), float(height))
    elif fit == "clip":
        box = _clip_box(width, height, side)
    else:
        edge = min(width, height)
        left, top = (width - edge) / 2, (height - edge) / 2
        box = (left, top, left + edge, top + edge)
    # The gap lets a cheap box filter do the coarse part of a large reduction.
    return image.resize((side, side), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)


def _clip_box(width: int, height: int, side: int) -> tuple[float, float, float, float]:
    """Return the box of CLIP's square in the image, as torchvision's Resize and CenterCrop cut it.

    They scale the shorter side to `side` and the longer side to whole pixels, and cut at a whole pixel of the result.
    """
    short = min(width, height)
    scaled = (int(side * width / short), int(side * height / short))
    (left, right), (top, bottom) = (
        (round((long - side) / 2.0) * edge / long, (round((long - side) / 2.0) + side) * edge / long)
        for edge, long in zip((width, height), scaled, strict=True)
    )
    return left, top, right, bottom


def _upright(square: Image.Image, source: Image.Image) -> Image.Image:
    """Return the square, rotated as the image's orientation tag says.

    The rotation is done on the square, because that is cheap, and a centre square stays the centre square.
    """
    try:
        orientation = source.getexif().get(_ORIENTATION_TAG)
    except _BROKEN:  # broken metadata does not make the image unreadable
        return square
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return square if method is None else square.transpose(method)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
