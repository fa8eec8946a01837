"""The input tokens of an image at OpenAI, Anthropic and Google: what their pages say, and what they billed.

Each formula is `(width, height, detail) -> tokens`; sides are at least 1, detail is `auto`, `low`, `high` or
`original`. `auto` is counted as the dearest that the provider may choose, because the reservation must cover it; so the
detail is sent on as it came. `original` is counted as `high` by formulas of models that have no such detail. Where
sources conflict, the formula takes the larger count, and its docstring names the conflict.
"""

from __future__ import annotations

from functools import lru_cache
from math import floor, sqrt

PATCH = 32
"""The side of one of OpenAI's patches, in pixels."""


def openai_tiles(width: int, height: int, detail: str) -> int:
    """Count for GPT-4o, GPT-4.1, GPT-4.5: 85 tokens, and at high detail 170 more per tile of 512 pixels."""
    return _openai_tiles(width, height, detail, base=85, per_tile=170)


def openai_tiles_mini(width: int, height: int, detail: str) -> int:
    """Count for GPT-4o mini: as `openai_tiles`, with 2833 + 5667 tokens per tile."""
    return _openai_tiles(width, height, detail, base=2833, per_tile=5667)


def openai_tiles_reasoning(width: int, height: int, detail: str) -> int:
    """Count for o1, o1-pro and o3: as `openai_tiles`, with 75 + 150 tokens per tile."""
    return _openai_tiles(width, height, detail, base=75, per_tile=150)


def openai_tiles_gpt5(width: int, height: int, detail: str) -> int:
    """Count for GPT-5 and 5.1: as `openai_tiles`, with 70 + 140 tokens per tile."""
    return _openai_tiles(width, height, detail, base=70, per_tile=140)


def openai_patches_mini(width: int, height: int, _detail: str) -> int:
    """Count for GPT-4.1 mini: patches of 32 pixels, at most 1536, times 1.62. Ignores detail.

    Source: OpenAI, "Images and vision", calculating costs. On that page a larger image is scaled until it fits 1536
    patches and ends slightly below (1800x2400 at 1452). This formula counts such an image as 1536, because it was
    billed so: 4000x1474 at 1536 x 1.62 (community forum thread 1281361). In 2026 the page names a limit of 6144 patches
    for this model, now deprecated: `openai_patches:6144:162` has that limit.
    """
    return _percent(min(1536, _patches(width, height)), 162)


def openai_patches_nano(width: int, height: int, _detail: str) -> int:
    """Count for GPT-4.1 nano: the patches of `openai_patches_mini`, times 2.46."""
    return _percent(min(1536, _patches(width, height)), 246)


def openai_patches_o4_mini(width: int, height: int, _detail: str) -> int:
    """Count for o4-mini: the patches of `openai_patches_mini`, times 1.72."""
    return _percent(min(1536, _patches(width, height)), 172)


def openai_patches_gpt5_mini(width: int, height: int, _detail: str) -> int:
    """Count for GPT-5 mini: the patches of `openai_patches_mini`, times 1.2.

    OpenAI documented 1.62 in 2025, but billed 1.20 at every size up to 1536 patches (community forum thread 1344040, a
    table of six); the page says 1.2 since 2026.
    """
    return _percent(min(1536, _patches(width, height)), 120)


def openai_patches_gpt5_nano(width: int, height: int, _detail: str) -> int:
    """Count for GPT-5 nano: the patches of `openai_patches_mini`, times 1.5.

    OpenAI documented 2.46 in 2025, but billed 1.5.
    """
    return _percent(min(1536, _patches(width, height)), 150)


def openai_patches_gpt52(width: int, height: int, _detail: str) -> int:
    """Count for GPT-5.2: within 2048 pixels, at most 6144 patches of 32 pixels, times 1.2."""
    return openai_patches(width, height, 6144, 120)


def openai_patches_gpt54(width: int, height: int, detail: str) -> int:
    """Count for GPT-5.4: within 2048 pixels, at most 2500 patches, times 1.2; `original`: 6000 pixels, 10000 patches.

    Low detail is counted as high, because the page gives no lower limit for low detail. Source: OpenAI, "Images and
    vision", model sizing behavior (https://developers.openai.com/api/docs/guides/images-vision): `auto` is `high`.
    """
    return _original(width, height, 120) if detail == "original" else openai_patches(width, height, 2500, 120)


def openai_patches_gpt55(width: int, height: int, detail: str) -> int:
    """Count for GPT-5.5: as `openai_patches_gpt54`, but `auto` is `original` (the same page)."""
    return openai_patches_gpt54(width, height, "original" if detail == "auto" else detail)


def openai_patches_gpt56(width: int, height: int, detail: str) -> int:
    """Count for the GPT-5.6 family: `auto` and `original` keep every pixel; low and high are as for GPT-5.4.

    An image of more than 30000 patches is refused by the provider (its error message says so), and so is not billed.
    """
    if detail in ("low", "high"):
        return openai_patches_gpt54(width, height, detail)
    return _percent(min(30_000, _patches(width, height)), 120)


def _original(width: int, height: int, percent: int) -> int:
    return openai_patches(width, height, 10_000, percent, longest=6_000)


def openai_patches(width: int, height: int, budget: int, percent: int, *, longest: int = 2048) -> int:
    """Count OpenAI's patches as documented in 2026: fitted within `longest` pixels, then to `budget` patches, times a
    factor.

    Source: OpenAI, "Images and vision", calculating costs: an image over the budget is scaled by r = sqrt(32^2 x budget
    / (width x height)), then scaled again so that one side is a whole number of patches.
    """
    width, height = _fit(width, height, longest)
    patches = _patches(width, height)
    if patches > budget:
        patches = min(budget, _shrunk_patches(width, height, budget))
    return _percent(patches, percent)


def anthropic_area(width: int, height: int, _detail: str) -> int:
    """Count for Claude 3 to 4.6 as documented until 2026: width x height / 750, at most 1600. Ignores detail.

    Source: Anthropic, "Vision", evaluate image size: an image is first scaled down to a long edge of 1568 pixels and
    about 1,600 tokens (1.15 megapixels). Its examples: 200x200 is 54, 1000x1000 is 1334, 1092x1092 is 1590. The page
    now gives `anthropic_patches` instead, which counts more for small images.
    """
    width, height = _fit(width, height, 1568)
    return min(1600, -(-width * height // 750))


def anthropic_patches(width: int, height: int, _detail: str) -> int:
    """Count for Claude before 4.7 as documented now: one token per patch of 28 pixels; at most 1568 pixels and 1568
    tokens.

    Source: Anthropic, "Vision", evaluate image size, and "Coordinates and bounding boxes", which has the algorithm: the
    largest size of the same ratio whose sides, rounded up to whole patches, are within the limit of pixels, and whose
    patches are within the limit of tokens. Its examples: 1920x1080 is scaled to 1456x819 and takes 1560, 2000x1500
    takes 1564. Ignores detail.
    """
    return _anthropic_patches(width, height, longest=1568, most=1568)


def anthropic_patches_large(width: int, height: int, _detail: str) -> int:
    """Count for Claude 4.7 and later: as `anthropic_patches`, at most 2576 pixels and 4784 tokens."""
    return _anthropic_patches(width, height, longest=2576, most=4784)


def gemini_tiles(width: int, height: int, _detail: str) -> int:
    """Count for Gemini 2.0 and 2.5: 258 tokens when both sides are within 384 pixels, else 258 per tile.

    Source: Google, "Image understanding", token calculation: the crop unit is floor(min(width, height) / 1.5) and tiles
    are ceil(width / unit) x ceil(height / unit); 960x540 has unit 360 and 6 tiles. Google's pages conflict: Vertex AI's
    page keeps the unit within 256..768; the other page does not, and so gives 6 tiles for 3840x2160 where the bounded
    unit gives 15. This formula bounds the unit, because that gives the larger count for large images, which are the
    expensive ones. `gemini_crop_units` is the unbounded formula. Gemini 3 prices by `media_resolution`: `gemini_media`.
    """
    if width <= 384 and height <= 384:
        return 258
    unit = min(768, max(256, min(width, height) * 2 // 3))
    return 258 * -(-width // unit) * -(-height // unit)


def gemini_crop_units(width: int, height: int, _detail: str) -> int:
    """Count for Gemini by the Gemini API's page alone: the tiles of `gemini_tiles`, with a unit without bounds.

    The page calls it a rough formula. With this formula no image of a usual ratio takes more than six tiles.
    """
    if width <= 384 and height <= 384:
        return 258
    unit = max(1, min(width, height) * 2 // 3)
    return 258 * -(-width // unit) * -(-height // unit)


def gemini_media(_width: int, _height: int, detail: str) -> int:
    """Count for Gemini 3: 1120 tokens, and 280 at low detail. Ignores the size.

    Source: Google, "Media resolution": low 280, medium 560, high 1120, which is the default for images.
    """
    return 280 if detail == "low" else 1120


def _openai_tiles(width: int, height: int, detail: str, base: int, per_tile: int) -> int:
    """Count tiles by OpenAI, "Images and vision", calculating costs: fit 2048x2048, shortest side to 768, tiles of 512.

    Its examples: 1024x1024 is 765 and 2048x4096 is 1105. "Scaled such that the shortest side is 768" means scaling down
    only: 128x64 was billed one tile. Scaled sides are rounded to the nearest pixel: 2049x513 was billed eight tiles and
    2050x513 four (community forum threads 1262691 and 1281361).
    """
    if detail == "low":
        return base
    width, height = _fit(width, height, 2048)
    shortest = min(width, height)
    if shortest > 768:
        width, height = _scale(width, 768, shortest), _scale(height, 768, shortest)
    return base + per_tile * -(-width // 512) * -(-height // 512)


def _patches(width: int, height: int) -> int:
    return -(-width // PATCH) * -(-height // PATCH)


def _shrunk_patches(width: int, height: int, budget: int) -> int:
    """Return the patches of an image that was scaled to the budget; in floating point, as published."""
    ratio = sqrt(PATCH * PATCH * budget / (width * height))
    columns, rows = width * ratio / PATCH, height * ratio / PATCH
    ratio *= min(floor(columns) / columns, floor(rows) / rows)
    if not ratio:  # a side is below one patch, and the published formula scales the image to nothing
        return budget
    return _patches(floor(width * ratio), floor(height * ratio))


def _percent(patches: int, percent: int) -> int:
    return -(-patches * percent // 100)


@lru_cache(4096)
def _anthropic_patches(width: int, height: int, longest: int, most: int) -> int:
    """Run the published search over the longer side; the shorter side is rounded to the nearest
    pixel, halves to even.
    """
    longer, shorter = max(width, height), min(width, height)
    if _visual_tokens(longer, shorter) <= most and longer <= longest:
        return _visual_tokens(longer, shorter)
    least, side = 1, min(longer, longest)
    while least < side:
        middle = (least + side + 1) // 2
        if _visual_tokens(middle, _beside(middle, longer, shorter)) <= most:
            least = middle
        else:
            side = middle - 1
    return _visual_tokens(least, _beside(least, longer, shorter))


def _visual_tokens(width: int, height: int) -> int:
    return -(-width // 28) * -(-height // 28)


def _beside(side: int, longer: int, shorter: int) -> int:
    return max(1, round(shorter * side / longer))


def _fit(width: int, height: int, longest: int) -> tuple[int, int]:
    """Scale down so that the longer side is within `longest`; sides are rounded to the nearest pixel, at least 1."""
    longer = max(width, height)
    if longer <= longest:
        return width, height
    return _scale(width, longest, longer), _scale(height, longest, longer)


def _scale(side: int, to: int, of: int) -> int:
    return max(1, (2 * side * to + of) // (2 * of))
