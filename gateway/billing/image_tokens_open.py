"""The input tokens of an image in open-weight models, as the models' processors count them.

Each formula is `(width, height, detail) -> tokens`; sides are at least 1. No formula here uses detail. A provider may
bill a different number: these are the tokens that the model receives.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, floor, sqrt
from typing import NamedTuple


def qwen_patches(width: int, height: int, _detail: str) -> int:
    """Count for Qwen2-VL and Qwen2.5-VL: one token per 28x28 pixels after `smart_resize`, plus the two vision marks.

    Source: Wang et al. 2024, "Qwen2-VL" (arXiv:2409.12191), section 2.1, and `smart_resize` of transformers with the
    shipped processor's limits (56 x 56 to 12,845,056 pixels, 16384 tokens). These conflict with the function's own
    default of 1280 tokens (1,003,520 pixels). The processor refuses sides of a ratio above 200; this formula counts
    them as if it accepted them.
    """
    rows, columns = _smart_resize(height, width, _QWEN2)
    return rows * columns + 2


def qwen3_patches(width: int, height: int, _detail: str) -> int:
    """Count for Qwen3-VL: as `qwen_patches`, with a token per 32x32 pixels, between 65,536 and 16,777,216 pixels.

    Source: the model cards' preprocessor_config.json (patch_size 16, merge_size 2, shortest_edge, longest_edge).
    """
    rows, columns = _smart_resize(height, width, _QWEN3)
    return rows * columns + 2


def internvl_tiles(width: int, height: int, _detail: str) -> int:
    """Count for InternVL 1.5 to 3: 256 tokens per tile of 448 pixels; 1 to 12 tiles, plus a thumbnail for more than
    one.

    Source: Chen et al. 2024, "How Far Are We to GPT-4V?" (arXiv:2404.16821), section 3.3, and `dynamic_preprocess` of
    its model cards (max_num=12, use_thumbnail=True). Ignores detail.
    """
    columns, rows = _internvl_grid(width, height)
    tiles = columns * rows
    return 256 * (tiles + 1 if tiles > 1 else tiles)


def llama_tiles(width: int, height: int, _detail: str) -> int:
    """Count for Llama 3.2 Vision: 1601 tokens per tile of 560 pixels, 1 to 4 tiles.

    Source: Meta 2024, "The Llama 3 Herd of Models" (arXiv:2407.21783), section 7, and `MllamaImageProcessor` of
    transformers (get_optimal_tiled_canvas, max_image_tiles=4): 40 x 40 patches of 14 pixels and one more. The model's
    text sees an image by cross-attention, as one token: providers that bill by that charge less.
    """
    columns, rows = _llama_canvas(width, height)
    return 1601 * columns * rows


def pixtral_patches(width: int, height: int, _detail: str) -> int:
    """Count for Pixtral: a token per 16x16 pixels within 1024 pixels, and one at the end of each row.

    Source: Agrawal et al. 2024, "Pixtral 12B" (arXiv:2410.07073), section 2, and `ImageEncoder` of mistral-common.
    """
    return _mistral(width, height, patch=16, longest=1024)


def mistral_patches(width: int, height: int, _detail: str) -> int:
    """Count for Mistral Small 3.1 and Medium 3: as `pixtral_patches`, a token per 28x28 pixels within 1540 pixels.

    Source: the model card's params.json (patch_size 14, spatial_merge_size 2, max_image_size 1540), and the sources of
    `pixtral_patches`.
    """
    return _mistral(width, height, patch=28, longest=1540)


class _Limits(NamedTuple):
    """The side of the square that one token covers, in pixels, and the fewest and most pixels of an image."""

    unit: int
    least: int
    most: int


_QWEN2 = _Limits(28, 56 * 56, 12_845_056)
_QWEN3 = _Limits(32, 65_536, 16_777_216)


def _smart_resize(height: int, width: int, limits: _Limits) -> tuple[int, int]:
    """Return the rows and columns that `smart_resize` gives, in units.

    In floating point like the original: providers run that code, and if its rounding adds a unit they charge for the
    unit.
    """
    unit, least, most = limits
    rows, columns = max(1, round(height / unit)), max(1, round(width / unit))
    if rows * columns * unit * unit > most:
        shrink = sqrt(height * width / most)
        rows, columns = max(1, floor(height / shrink / unit)), max(1, floor(width / shrink / unit))
        # Past a ratio of 200 the shorter side is raised to 1 and cannot shrink the area: limit the longer side.
        rows, columns = min(rows, most // unit**2), min(columns, most // unit**2)
    elif rows * columns * unit * unit < least:
        grow = sqrt(least / (height * width))
        rows, columns = ceil(height * grow / unit), ceil(width * grow / unit)
    return rows, columns


@lru_cache(maxsize=1)
def _internvl_grids() -> tuple[tuple[int, int], ...]:
    """Return the grids (columns, rows) of up to 12 tiles, fewest tiles first."""
    grids = {(i, j) for i in range(1, 13) for j in range(1, 13) if i * j <= 12}
    return tuple(sorted(grids, key=lambda grid: (grid[0] * grid[1], grid)))


def _internvl_grid(width: int, height: int) -> tuple[int, int]:
    """Return the grid of the closest aspect ratio; of equally close ones, the largest that the image fills by half."""
    best, best_difference = (1, 1), float("inf")
    for columns, rows in _internvl_grids():
        difference = abs(width / height - columns / rows)
        larger_is_filled = 2 * width * height > 448 * 448 * columns * rows
        if difference < best_difference or (difference == best_difference and larger_is_filled):
            best, best_difference = (columns, rows), difference
    return best


def _llama_canvas(width: int, height: int) -> tuple[int, int]:
    """Return (columns, rows) of the canvas that needs the least scaling up, else the least scaling down.

    Of equal canvases, return the smallest.
    """
    canvases = [(columns, rows) for columns in range(1, 5) for rows in range(1, 5) if columns * rows <= 4]
    scales = {canvas: min(560 * canvas[0] / width, 560 * canvas[1] / height) for canvas in canvases}
    larger = [scale for scale in scales.values() if scale >= 1]
    chosen = min(larger) if larger else max(scales.values())
    return min((canvas for canvas in canvases if scales[canvas] == chosen), key=lambda canvas: canvas[0] * canvas[1])


def _mistral(width: int, height: int, patch: int, longest: int) -> int:
    ratio = max(width / longest, height / longest)
    if ratio > 1:
        width, height = max(1, round(width / ratio)), max(1, round(height / ratio))
    return ((width - 1) // patch + 2) * ((height - 1) // patch + 1)
