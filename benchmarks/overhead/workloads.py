"""The requests of the overhead benchmark: a few of each kind, drawn from a seed, as complete HTTP/1.1 bytes."""

from __future__ import annotations

import base64
import io
import json
import random
from dataclasses import dataclass
from typing import Any

from PIL import Image

KEY = "sk-overhead-benchmark"
TEXT_BYTES = 1_000
IMAGE_BYTES = 100_000
VARIANTS = 4
"""The number of different requests of a kind: few, so that the encoder's cache is warm after each was sent once."""

_WORDS = ("light", "lens", "table", "chart", "count", "angle", "price", "figure", "image", "number", "total", "least")


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests of one kind, taken in turn, and the bytes with which every reply's body must end."""

    name: str
    requests: tuple[bytes, ...]
    ending: bytes


def workloads(seed: int) -> tuple[Workload, ...]:
    """Return the three kinds: 1 KB of text, a JPEG of 100 KB as a data URL, and the text with a streamed reply."""
    draw = random.Random(seed)
    texts = [_text(draw, TEXT_BYTES) for _ in range(VARIANTS)]
    images = [_noise_jpeg(draw, IMAGE_BYTES) for _ in range(VARIANTS)]
    return (
        Workload("text", tuple(_request(text) for text in texts), b"}"),
        Workload("image", tuple(_request(_with_image(_text(draw, 100), image)) for image in images), b"}"),
        Workload("stream", tuple(_request(text, stream=True) for text in texts), b"data: [DONE]\n\n"),
    )


def _text(draw: random.Random, length: int) -> str:
    words = " ".join(draw.choice(_WORDS) for _ in range(length // 4))
    return words[:length]


def _with_image(text: str, jpeg: bytes) -> list[dict[str, Any]]:
    url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    return [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]


def _noise_jpeg(draw: random.Random, size: int) -> bytes:
    """Return a JPEG of random noise, which JPEG cannot compress, of about `size` bytes, within 2%."""
    width, height = 448, 336
    noise = Image.frombytes("RGB", (width, height), draw.randbytes(width * height * 3))
    candidates = []
    for quality in range(5, 96):
        out = io.BytesIO()
        noise.save(out, "JPEG", quality=quality)
        candidates.append(out.getvalue())
    return min(candidates, key=lambda data: abs(len(data) - size))


def _request(content: str | list[dict[str, Any]], *, stream: bool = False) -> bytes:
    fields: dict[str, Any] = {"model": "auto", "max_tokens": 256}
    if stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    fields["messages"] = [{"role": "user", "content": content}]
    body = json.dumps(fields, separators=(",", ":")).encode()
    lines = (
        "POST /v1/chat/completions HTTP/1.1",
        "host: 127.0.0.1",
        f"authorization: Bearer {KEY}",
        "content-type: application/json",
        "x-budget: 1",
        f"content-length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
