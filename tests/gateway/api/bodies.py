"""The parts that bodies of requests are made of."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

from PIL import Image

from gateway.api.parse.chat import ChatLimits
from gateway.images.data_url import ImageLimits

LIMITS = ChatLimits(ImageLimits(max_bytes=100_000, max_pixels=1_000_000), max_images=3)


def png(width: int = 40, height: int = 30) -> bytes:
    file = BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "PNG")
    return file.getvalue()


def data_url(file: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(file).decode()}"


def image(url: Any, **changes: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **changes}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}
