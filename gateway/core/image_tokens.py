"""How many input tokens an image takes: the published formula of each provider family.

A formula is `(width, height, detail) -> tokens`; sides are at least 1, detail is `auto`, `low` or `high`.
`auto` is counted as `high`: the provider may choose it, and what is held must cover it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from math import ceil, floor, sqrt
from types import MappingProxyType

from gateway.errors import ConfigError

ImageTokens = Callable[[int, int, str], int]
"""(width, height, detail) -> input tokens."""


def openai_tiles(width: int, height: int, detail: str) -> int:
    """GPT-4o, GPT-4.1, GPT-4 Turbo: 85 tokens, and at high detail 170 for each tile of 512 pixels."""
    return _openai_tiles(width, height, detail, base=85, per_tile=170)


def openai_tiles_mini(width: int, height: int, detail: str) -> int:
    """GPT-4o mini: the tiles of `openai_tiles` at 2833 + 5667 each."""
    return _openai_tiles(width, height, detail, base=2833, per_tile=5667)


def openai_patches_mini(width: int, height: int, _detail: str) -> int:
    """GPT-4.1 mini: patches of 32 pixels, at most 1536, times 1.62. Detail does not count.

    Source: OpenAI, "Images and vision", calculating costs. A larger image is scaled to at most 1536 patches
    and may end a few below; here it is counted as 1536 (a 4000x1474 image was billed 1536 x 1.62: community
    forum thread 1281361). GPT-5 mini is documented with the same factor and was seen billed at 1.2.
    """
    return _openai_patches(width, height, percent=162)


def openai_patches_nano(width: int, height: int, _detail: str) -> int:
    """GPT-4.1 nano: the patches of `openai_patches_mini`, times 2.46."""
    return _openai_patches(width, height, percent=246)


def anthropic_area(width: int, height: int, _detail: str) -> int:
    """Claude 3 to 4.6 as documented until 2026: width x height / 750, at most 1600. Detail does not count.

    Source: Anthropic, "Vision", evaluate image size: an image is first scaled down to a long edge of 1568
    pixels and about 1,600 tokens (1.15 megapixels). Its examples: 200x200 is 54, 1000x1000 is 1334, 1092x1092
    is 1590. The page now gives `anthropic_patches` instead, which is above this for small images.
    """
    width, height = _fit(width, height, 1568)
    return min(1600, -(-width * height // 750))


def anthropic_patches(width: int, height: int, _detail: str) -> int:
    """Claude as documented now: one token per patch of 28 pixels, after fitting a long edge of 1568 pixels.

    Source: Anthropic, "Vision": ceil(width / 28) x ceil(height / 28) visual tokens. An image past the limit
    is scaled to it; the count stops at 1600, the limit long stated for models that read 1568 pixels (about
    1,560 were counted for large images). Models that read 2576 pixels (Opus 4.7) take up to three times as
    many: use `anthropic_patches_large` for them.
    """
    return _anthropic_patches(width, height, longest=1568, most=1600)


def anthropic_patches_large(width: int, height: int, _detail: str) -> int:
    """Claude Opus 4.7 and others that read 2576 pixels: as `anthropic_patches`, at most 92 x 92 patches.

    Source: as there. The patches of the largest square are the bound; the page states a lower one per model.
    """
    return _anthropic_patches(width, height, longest=2576, most=92 * 92)


def gemini_tiles(width: int, height: int, _detail: str) -> int:
    """Gemini 2.0 and 2.5: 258 tokens when both sides are within 384 pixels, else 258 for each tile.

    Source: Google, "Image understanding", token calculation: the crop unit is floor(min(width, height) / 1.5)
    and tiles are ceil(width / unit) x ceil(height / unit); 960x540 has unit 360 and 6 tiles. Versions
    conflict: Vertex AI's page keeps the unit within 256..768, the other does not, and so gives 6 tiles for
    3840x2160 where the bounded unit gives 15. The bounded one is taken: it is the larger count for large
    images, which are the ones that cost. Gemini 3 prices by `media_resolution`: use `flat`.
    """
    if width <= 384 and height <= 384:
        return 258
    unit = min(768, max(256, min(width, height) * 2 // 3))
    return 258 * -(-width // unit) * -(-height // unit)


def qwen_patches(width: int, height: int, _detail: str) -> int:
    """Qwen2-VL and Qwen2.5-VL: one token per 28x28 pixels after `smart_resize`, and the two vision marks.

    Source: Wang et al. 2024, "Qwen2-VL" (arXiv:2409.12191), section 2.1, and `smart_resize` of transformers
    with the shipped processor's limits (56 x 56 to 12,845,056 pixels, 16384 tokens). The conflict there: the
    function's own default is 1280 tokens (1,003,520 pixels). Sides of a ratio above 200 are refused by the
    processor; here they are counted as if taken.
    """
    rows, columns = _qwen_grid(height, width)
    return rows * columns + 2


def internvl_tiles(width: int, height: int, _detail: str) -> int:
    """InternVL 1.5 to 3: 256 tokens a tile of 448 pixels; 1 to 12 tiles, and a thumbnail when there are more.

    Source: Chen et al. 2024, "How Far Are We to GPT-4V?" (arXiv:2404.16821), section 3.3, and
    `dynamic_preprocess` of its model cards (max_num=12, use_thumbnail=True). Detail does not count.
    """
    columns, rows = _internvl_grid(width, height)
    tiles = columns * rows
    return 256 * (tiles + 1 if tiles > 1 else tiles)


def flat(tokens: int) -> ImageTokens:
    """A formula that gives every image `tokens`, as for Gemini 3's `media_resolution` or Gemma 3 (256)."""
    if tokens < 0:
        raise ConfigError(f"an image cannot take {tokens} tokens")

    def formula(_width: int, _height: int, _detail: str) -> int:
        return tokens

    return formula


IMAGE_TOKENS: Mapping[str, ImageTokens] = MappingProxyType(
    {
        "openai_tiles": openai_tiles,
        "openai_tiles_mini": openai_tiles_mini,
        "openai_patches_mini": openai_patches_mini,
        "openai_patches_nano": openai_patches_nano,
        "anthropic_area": anthropic_area,
        "anthropic_patches": anthropic_patches,
        "anthropic_patches_large": anthropic_patches_large,
        "gemini_tiles": gemini_tiles,
        "qwen_patches": qwen_patches,
        "internvl_tiles": internvl_tiles,
    }
)


def image_token_formula(name: str) -> ImageTokens:
    """The formula that a configuration names: a key of IMAGE_TOKENS, or `flat:N`. Raises ConfigError."""
    if name in IMAGE_TOKENS:
        return IMAGE_TOKENS[name]
    if match := re.fullmatch(r"flat:(\d{1,7})", name, re.ASCII):
        return flat(int(match[1]))
    known = ", ".join((*IMAGE_TOKENS, "flat:N"))
    raise ConfigError(f"no image-token formula is called {name!r}; there are {known}")


def _openai_tiles(width: int, height: int, detail: str, base: int, per_tile: int) -> int:
    """OpenAI, "Images and vision", calculating costs: fit 2048x2048, shortest side to 768, tiles of 512.

    Its examples: 1024x1024 is 765 and 2048x4096 is 1105. "Scaled such that the shortest side is 768" is down
    only: 128x64 was billed one tile. Scaled sides are rounded to the nearest pixel: 2049x513 was billed eight
    tiles and 2050x513 four (community forum threads 1262691 and 1281361).
    """
    if detail == "low":
        return base
    width, height = _fit(width, height, 2048)
    shortest = min(width, height)
    if shortest > 768:
        width, height = _scale(width, 768, shortest), _scale(height, 768, shortest)
    return base + per_tile * -(-width // 512) * -(-height // 512)


def _openai_patches(width: int, height: int, percent: int) -> int:
    patches = min(1536, -(-width // 32) * -(-height // 32))
    return -(-patches * percent // 100)


def _anthropic_patches(width: int, height: int, longest: int, most: int) -> int:
    width, height = _fit(width, height, longest)
    return min(most, -(-width // 28) * -(-height // 28))


def _fit(width: int, height: int, longest: int) -> tuple[int, int]:
    """Scale down so that the longer side is within `longest`; sides to the nearest pixel, at least 1."""
    longer = max(width, height)
    if longer <= longest:
        return width, height
    return _scale(width, longest, longer), _scale(height, longest, longer)


def _scale(side: int, to: int, of: int) -> int:
    return max(1, (2 * side * to + of) // (2 * of))


def _qwen_grid(height: int, width: int) -> tuple[int, int]:
    """`smart_resize`, in units of 28 pixels.

    In floating point as there: providers run that code, and where it rounds by a unit they charge for it.
    """
    unit, least, most = 28, 56 * 56, 12_845_056
    rows, columns = max(1, round(height / unit)), max(1, round(width / unit))
    if rows * columns * unit * unit > most:
        shrink = sqrt(height * width / most)
        rows, columns = max(1, floor(height / shrink / unit)), max(1, floor(width / shrink / unit))
        # A side past the ratio of 200 is raised to 1 and no longer shrinks the area: hold it to the limit.
        rows, columns = min(rows, most // unit**2), min(columns, most // unit**2)
    elif rows * columns * unit * unit < least:
        grow = sqrt(least / (height * width))
        rows, columns = ceil(height * grow / unit), ceil(width * grow / unit)
    return rows, columns


@lru_cache(maxsize=1)
def _internvl_grids() -> tuple[tuple[int, int], ...]:
    """(columns, rows) of up to 12 tiles, fewest tiles first."""
    grids = {(i, j) for i in range(1, 13) for j in range(1, 13) if i * j <= 12}
    return tuple(sorted(grids, key=lambda grid: (grid[0] * grid[1], grid)))


def _internvl_grid(width: int, height: int) -> tuple[int, int]:
    """The grid of the closest aspect ratio; of equally close ones, the largest that the image half fills."""
    best, best_difference = (1, 1), float("inf")
    for columns, rows in _internvl_grids():
        difference = abs(width / height - columns / rows)
        larger_is_filled = 2 * width * height > 448 * 448 * columns * rows
        if difference < best_difference or (difference == best_difference and larger_is_filled):
            best, best_difference = (columns, rows), difference
    return best
