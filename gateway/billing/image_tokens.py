"""The input tokens of an image, by the formula name in a configuration: a provider family's published formula.

A formula is `(width, height, detail) -> tokens`; sides are at least 1, detail is `auto`, `low`, `high` or
`original`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway.billing import image_tokens_hosted as image_formulas
from gateway.billing import image_tokens_open as image_grids
from gateway.errors import ConfigError

ImageTokens = Callable[[int, int, str], int]
"""A formula: (width, height, detail) -> input tokens."""

IMAGE_TOKENS: dict[str, ImageTokens] = {
    formula.__name__: formula
    for formula in (
        image_formulas.openai_tiles,
        image_formulas.openai_tiles_mini,
        image_formulas.openai_tiles_reasoning,
        image_formulas.openai_tiles_gpt5,
        image_formulas.openai_patches_mini,
        image_formulas.openai_patches_nano,
        image_formulas.openai_patches_o4_mini,
        image_formulas.openai_patches_gpt5_mini,
        image_formulas.openai_patches_gpt5_nano,
        image_formulas.openai_patches_gpt52,
        image_formulas.openai_patches_gpt54,
        image_formulas.openai_patches_gpt55,
        image_formulas.openai_patches_gpt56,
        image_formulas.anthropic_area,
        image_formulas.anthropic_patches,
        image_formulas.anthropic_patches_large,
        image_formulas.gemini_tiles,
        image_formulas.gemini_crop_units,
        image_formulas.gemini_media,
        image_grids.qwen_patches,
        image_grids.qwen3_patches,
        image_grids.internvl_tiles,
        image_grids.llama_tiles,
        image_grids.pixtral_patches,
        image_grids.mistral_patches,
    )
}
"""A mapping from a formula's name in the configuration to the formula. To add a formula, add a function and a line
here.
"""


def image_token_formula(name: str) -> ImageTokens:
    """Return the formula that a configuration names. Raises ConfigError for an unknown name.

    The name is a key of IMAGE_TOKENS, or `flat:N` for N tokens for any image, or `openai_patches:BUDGET:PERCENT` for
    future OpenAI models: at most BUDGET patches of 32 pixels, each counted as PERCENT hundredths of a token.
    """
    if name in IMAGE_TOKENS:
        return IMAGE_TOKENS[name]
    if match := re.fullmatch(r"flat:(\d{1,7})", name, re.ASCII):
        return flat(int(match[1]))
    if match := re.fullmatch(r"openai_patches:([1-9]\d{0,5}):([1-9]\d{0,3})", name, re.ASCII):
        return _openai_patches(int(match[1]), int(match[2]))
    known = ", ".join((*IMAGE_TOKENS, "flat:N", "openai_patches:BUDGET:PERCENT"))
    raise ConfigError(f"unknown image-token formula {name!r}; known: {known}")


def flat(tokens: int) -> ImageTokens:
    """Return a formula that gives every image `tokens` tokens, as for Gemma 3 (256) or LLaVA 1.5 (576)."""
    if tokens < 0:
        raise ConfigError(f"an image cannot take {tokens} tokens")

    def formula(_width: int, _height: int, _detail: str) -> int:
        return tokens

    return formula


def _openai_patches(budget: int, percent: int) -> ImageTokens:
    def formula(width: int, height: int, _detail: str) -> int:
        return image_formulas.openai_patches(width, height, budget, percent)

    return formula
