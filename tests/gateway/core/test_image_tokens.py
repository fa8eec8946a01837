"""The formulas against the providers' own examples, against measured bills, and against their laws."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.image_tokens import IMAGE_TOKENS, flat, image_token_formula
from gateway.errors import ConfigError

SIDES = st.integers(1, 20_000)
DETAILS = st.sampled_from(["auto", "low", "high"])

OPENAI = "OpenAI, Images and vision, calculating costs"
FORUM_SIZES = "OpenAI community thread 1281361 (billed)"
FORUM_MODELS = "OpenAI community thread 1262691 (billed)"
CLAUDE = "Anthropic, Vision, evaluate image size"
GEMINI = "Google, Image understanding, token calculation"
QWEN = "transformers smart_resize, shipped limits"
INTERNVL = "InternVL model card, dynamic_preprocess"

CASES = [
    ("openai_tiles", (1024, 1024, "high"), 765, OPENAI),
    ("openai_tiles", (2048, 4096, "high"), 1105, OPENAI),
    ("openai_tiles", (4096, 8192, "low"), 85, OPENAI),
    ("openai_tiles", (128, 64, "high"), 255, FORUM_MODELS),
    ("openai_tiles", (2049, 513, "high"), 1445, FORUM_SIZES),
    ("openai_tiles", (2050, 513, "high"), 765, FORUM_SIZES),
    ("openai_tiles", (1800, 2400, "auto"), 765, FORUM_SIZES),
    ("openai_tiles_mini", (128, 64, "low"), 2833, FORUM_MODELS),
    ("openai_tiles_mini", (128, 64, "high"), 8500, FORUM_MODELS),
    ("openai_patches_mini", (1800, 2400, "high"), 2489, "2,488.3 billed for 1536 patches, rounded up"),
    ("openai_patches_mini", (4000, 1474, "high"), 2489, FORUM_SIZES),
    ("openai_patches_nano", (1024, 1024, "high"), 2520, "1024 patches (OpenAI's example) x 2.46"),
    ("anthropic_area", (200, 200, "auto"), 54, CLAUDE),
    ("anthropic_area", (1000, 1000, "auto"), 1334, CLAUDE),
    ("anthropic_area", (1092, 1092, "auto"), 1590, CLAUDE),
    ("anthropic_area", (4000, 3000, "auto"), 1600, "the stated cap"),
    ("anthropic_patches", (200, 200, "auto"), 64, "ceil(200/28) squared"),
    ("anthropic_patches", (1000, 1000, "auto"), 1296, "ceil(1000/28) squared"),
    ("gemini_tiles", (384, 384, "auto"), 258, GEMINI),
    ("gemini_tiles", (960, 540, "auto"), 1548, GEMINI),
    ("gemini_tiles", (3840, 2160, "auto"), 3870, "15 tiles of 768: Vertex AI's bounds on the unit"),
    ("qwen_patches", (224, 224, "auto"), 66, QWEN),
    ("qwen_patches", (1024, 768, "auto"), 37 * 27 + 2, QWEN),
    ("qwen_patches", (1, 1, "auto"), 6, QWEN + ": four tokens at least"),
    ("internvl_tiles", (448, 448, "auto"), 256, INTERNVL),
    ("internvl_tiles", (896, 448, "auto"), 768, INTERNVL),
    ("internvl_tiles", (1024, 768, "auto"), 256 * 13, INTERNVL + ": 4x3 and the thumbnail"),
]


@pytest.mark.parametrize(("family", "size", "tokens", "source"), CASES)
def test_formula_gives_the_published_count(family: str, size: tuple[int, int, str], tokens: int, source: str) -> None:
    assert IMAGE_TOKENS[family](*size) == tokens, source


@pytest.mark.parametrize("family", IMAGE_TOKENS)
@given(width=SIDES, height=SIDES, detail=DETAILS)
def test_every_image_takes_at_least_one_token_and_a_bounded_number(
    family: str, width: int, height: int, detail: str
) -> None:
    tokens = IMAGE_TOKENS[family](width, height, detail)
    most = 258 * math.ceil(width / 256) * math.ceil(height / 256) if family == "gemini_tiles" else 48_169
    assert 1 <= tokens <= most


@pytest.mark.parametrize("family", [name for name in IMAGE_TOKENS if name != "gemini_tiles"])
def test_a_huge_image_is_counted_as_the_provider_scales_it(family: str) -> None:
    for width, height in ((2**31, 2**31), (2**31, 1), (1, 2**31)):
        assert 1 <= IMAGE_TOKENS[family](width, height, "high") <= 48_169


@given(side=st.integers(1, 4_000), more=st.integers(0, 4_000))
@pytest.mark.parametrize("family", [name for name in IMAGE_TOKENS if name not in ("internvl_tiles", "gemini_tiles")])
def test_a_larger_square_takes_no_fewer_tokens(family: str, side: int, more: int) -> None:
    formula = IMAGE_TOKENS[family]
    allowance = 260 if family == "qwen_patches" else 0  # at its limit it floors both sides to 28 pixels
    assert formula(side, side, "high") <= formula(side + more, side + more, "high") + allowance


@given(width=SIDES, height=SIDES)
def test_low_detail_never_takes_more_than_high(width: int, height: int) -> None:
    for formula in IMAGE_TOKENS.values():
        assert formula(width, height, "low") <= formula(width, height, "high") == formula(width, height, "auto")


@given(width=st.integers(1, 9_000), height=st.integers(1, 9_000))
@example(width=3_601, height=3_600)
@example(width=55, height=70)
def test_qwen_agrees_with_the_published_code(width: int, height: int) -> None:
    if max(width, height) > 200 * min(width, height):
        return
    assert IMAGE_TOKENS["qwen_patches"](width, height, "auto") == _smart_resize_tokens(height, width) + 2


def test_configuration_names_a_formula() -> None:
    assert image_token_formula("gemini_tiles") is IMAGE_TOKENS["gemini_tiles"]
    assert image_token_formula("flat:1120")(9, 9, "auto") == 1120
    assert flat(0)(1, 1, "low") == 0


@pytest.mark.parametrize("name", ["", "flat", "flat:", "flat:-1", "flat:1.5", "flat:99999999", "openai"])
def test_unknown_formula_is_a_configuration_error_that_lists_the_known(name: str) -> None:
    with pytest.raises(ConfigError, match="openai_tiles"):
        image_token_formula(name)


def _smart_resize_tokens(height: int, width: int) -> int:
    """The published function as it stands, in pixels."""
    factor, least, most = 28, 56 * 56, 12_845_056
    rows, columns = max(factor, round(height / factor) * factor), max(factor, round(width / factor) * factor)
    if rows * columns > most:
        shrink = math.sqrt(height * width / most)
        rows = max(factor, math.floor(height / shrink / factor) * factor)
        columns = max(factor, math.floor(width / shrink / factor) * factor)
    elif rows * columns < least:
        grow = math.sqrt(least / (height * width))
        rows, columns = math.ceil(height * grow / factor) * factor, math.ceil(width * grow / factor) * factor
    return rows * columns // factor**2
