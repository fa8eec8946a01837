"""What one request asks of a provider, as the provider's own parser sees it, and what it counts of it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from PIL import Image

from benchmarks.providers.prose import tokens_of

ImageCount = Callable[[int, int], int]
TOKENS_PER_MESSAGE = 4
PAGE_TEXT = 600
TOOL_TOKENS = 60
FORMAT_TOKENS = 30


@dataclass(frozen=True)
class Asked:
    """A body that a provider was sent."""

    body: Mapping[str, Any]

    @cached_property
    def parts(self) -> tuple[Mapping[str, Any], ...]:
        """All parts of all messages; a text alone is one part."""
        return tuple(self._parts())

    def _parts(self) -> Iterator[Mapping[str, Any]]:
        for message in self.body["messages"]:
            content = message.get("content")
            if isinstance(content, list):
                yield from content
            elif content:
                yield {"type": "text", "text": content}

    @property
    def text(self) -> str:
        return " ".join(part["text"] for part in self.parts if part["type"] == "text")

    @property
    def images(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each picture."""
        return tuple(_size(part["image_url"]["url"]) for part in self.parts if part["type"] == "image_url")

    @property
    def pages(self) -> int:
        """Pages of all PDF files."""
        files = [part["file"]["file_data"] for part in self.parts if part["type"] == "file"]
        return sum(_pages(data) for data in files)

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def has_parts(self) -> bool:
        return any(isinstance(message.get("content"), list) for message in self.body["messages"])

    @property
    def roles(self) -> frozenset[str]:
        return frozenset(message["role"] for message in self.body["messages"])

    @property
    def calls_tools(self) -> bool:
        return bool(self.body.get("tools")) and self.body.get("tool_choice") != "none"

    @property
    def format(self) -> str | None:
        """`json_schema`, `json_object`, or None for plain text."""
        found = (self.body.get("response_format") or {}).get("type")
        return None if found == "text" else found

    @property
    def choices(self) -> int:
        return int(self.body.get("n") or 1)

    @property
    def limit(self) -> int | None:
        found = self.body.get("max_completion_tokens") or self.body.get("max_tokens")
        return None if found is None else int(found)

    def input_tokens(self, of_image: ImageCount) -> int:
        """Return the billed input: the texts, the messages' marks, pictures, pages, tools and schema."""
        total = sum(tokens_of(part["text"]) for part in self.parts if part["type"] == "text")
        total += TOKENS_PER_MESSAGE * len(self.body["messages"])
        total += sum(of_image(width, height) for width, height in self.images)
        total += self.pages * (PAGE_TEXT + of_image(612, 792))
        total += TOOL_TOKENS * len(self.body.get("tools") or ())
        return total + FORMAT_TOKENS * (self.format == "json_schema")


@lru_cache(256)
def _size(url: str) -> tuple[int, int]:
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return image.size


@lru_cache(64)
def _pages(data: str) -> int:
    return len(re.findall(rb"/Type /Page\b(?!s)", base64.b64decode(data.partition(",")[2])))


def openai_tiles(base: int, per_tile: int) -> ImageCount:
    """Return OpenAI's count: a base and tiles of 512 (https://platform.openai.com/docs/guides/images-vision)."""

    def count(width: int, height: int) -> int:
        scale = min(1.0, 2048 / max(width, height))
        scale = min(scale, 768 / min(width, height)) if min(width, height) * scale > 768 else scale
        return base + per_tile * _ceil(width * scale, 512) * _ceil(height * scale, 512)

    return count


def anthropic_area(width: int, height: int) -> int:
    """Count width x height / 750 (https://docs.anthropic.com/en/docs/build-with-claude/vision)."""
    scale = min(1.0, 1568 / max(width, height))
    return min(1600, _ceil(width * scale * height * scale, 750))


def gemini_tiles(width: int, height: int) -> int:
    """Count 258 a tile (https://ai.google.dev/gemini-api/docs/image-understanding, token calculation)."""
    if max(width, height) <= 384:
        return 258
    unit = min(768, max(256, min(width, height) * 2 // 3))
    return 258 * _ceil(width, unit) * _ceil(height, unit)


def flat(tokens: int) -> ImageCount:
    """Return a count that is the same for every picture."""
    return lambda _width, _height: tokens


def _ceil(size: float, unit: int) -> int:
    return -(-round(size * 1000) // (unit * 1000))
