"""The formulas against the providers' own examples, against measured bills, and against their laws."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.estimates.image_cases import DIFFERENT, PUBLISHED, ImageCase
from gateway.billing.image_tokens import IMAGE_TOKENS, flat, image_token_formula
from gateway.errors import ConfigError

SIDES = st.integers(1, 20_000)
DETAILS = st.sampled_from(["auto", "low", "high", "original"])

OF_THE_OPEN = ("gemini_tiles", "gemini_crop_units")
"""Their pages give no bound on tiles."""
MOST = 48_169
FLOORED = ("qwen_patches", "qwen3_patches", *(f"openai_patches_gpt{model}" for model in (52, 54, 55, 56)))
"""At their limit both sides are floored to whole patches: a larger image may take a few tokens less."""


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: f"{case.family}-{case.width}x{case.height}-{case.detail}")
def test_formula_gives_the_published_count(case: ImageCase) -> None:
    assert IMAGE_TOKENS[case.family](case.width, case.height, case.detail) == case.tokens, case.source


@pytest.mark.parametrize(("case", "why"), DIFFERENT)
def test_where_sources_conflict_the_larger_count_is_held(case: ImageCase, why: str) -> None:
    assert IMAGE_TOKENS[case.family](case.width, case.height, case.detail) > case.tokens, why


def test_every_family_has_a_published_case() -> None:
    assert {case.family for case in PUBLISHED} == set(IMAGE_TOKENS)


@pytest.mark.parametrize("family", IMAGE_TOKENS)
@given(width=SIDES, height=SIDES, detail=DETAILS)
def test_every_image_takes_at_least_one_token_and_a_bounded_number(
    family: str, width: int, height: int, detail: str
) -> None:
    tokens = IMAGE_TOKENS[family](width, height, detail)
    if family not in OF_THE_OPEN:
        assert tokens <= MOST
    elif family == "gemini_tiles":
        assert tokens <= 258 * math.ceil(width / 256) * math.ceil(height / 256)
    assert tokens >= 1


@pytest.mark.parametrize("family", [name for name in IMAGE_TOKENS if name not in OF_THE_OPEN])
def test_a_huge_image_is_counted_as_the_provider_scales_it(family: str) -> None:
    for width, height in ((2**31, 2**31), (2**31, 1), (1, 2**31)):
        assert 1 <= IMAGE_TOKENS[family](width, height, "high") <= 48_169


@given(side=st.integers(1, 4_000), more=st.integers(0, 4_000))
@pytest.mark.parametrize("family", [name for name in IMAGE_TOKENS if name not in (*OF_THE_OPEN, "internvl_tiles")])
def test_a_larger_square_takes_no_fewer_tokens(family: str, side: int, more: int) -> None:
    formula = IMAGE_TOKENS[family]
    allowance = 260 if family in FLOORED else 0
    assert formula(side, side, "high") <= formula(side + more, side + more, "high") + allowance


@given(width=SIDES, height=SIDES)
def test_low_detail_never_takes_more_than_high(width: int, height: int) -> None:
    for name, formula in IMAGE_TOKENS.items():
        assert formula(width, height, "low") <= formula(width, height, "high")
        if name not in ("openai_patches_gpt55", "openai_patches_gpt56"):  # their `auto` is `original`
            assert formula(width, height, "high") == formula(width, height, "auto")


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


@pytest.mark.parametrize(
    ("size", "standard", "large"),
    [
        ((1920, 1080), 1560, 2691),
        ((2560, 1440), 1560, 4784),
        ((4032, 3024), 1564, 4740),
        ((4000, 3000), 1564, 4740),
        ((2048, 1227), 1530, 3256),
    ],
)
def test_claude_scales_by_the_published_search(size: tuple[int, int], standard: int, large: int) -> None:
    """Worked out with the reference implementation of Anthropic's page on coordinates."""
    for width, height in (size, size[::-1]):
        assert IMAGE_TOKENS["anthropic_patches"](width, height, "auto") == standard
        assert IMAGE_TOKENS["anthropic_patches_large"](width, height, "auto") == large


@given(width=st.integers(1, 3_000), height=st.integers(1, 3_000))
def test_no_larger_size_of_the_ratio_would_fit_claude(width: int, height: int) -> None:
    """The search finds what trying every length of the longer side finds."""
    longer, shorter = max(width, height), min(width, height)
    sizes = [(side, max(1, round(shorter * side / longer))) for side in range(1, min(longer, 1568) + 1)]
    counts = [math.ceil(a / 28) * math.ceil(b / 28) for a, b in sizes]
    assert IMAGE_TOKENS["anthropic_patches"](width, height, "auto") == [n for n in counts if n <= 1568][-1]


@pytest.mark.parametrize(
    ("size", "gpt52", "gpt54"),
    [((1920, 1080), 2448, 2448), ((2560, 1440), 2765, 2765), ((4032, 3024), 3687, 2942), ((2048, 1227), 2996, 2996)],
)
def test_openais_patches_have_a_budget_for_each_model(size: tuple[int, int], gpt52: int, gpt54: int) -> None:
    assert IMAGE_TOKENS["openai_patches_gpt52"](*size, "high") == gpt52
    assert IMAGE_TOKENS["openai_patches_gpt54"](*size, "high") == gpt54
    assert image_token_formula("openai_patches:2500:120")(*size, "high") == gpt54


def test_openais_example_of_shrinking_is_followed() -> None:
    """1800x2400 within 1536 patches becomes 33 x 44 = 1452: "Images and vision", calculating costs."""
    assert image_token_formula("openai_patches:1536:100")(1800, 2400, "high") == 1452


@given(width=SIDES, height=SIDES, budget=st.integers(1, 10_000))
def test_openais_patches_stay_within_their_budget(width: int, height: int, budget: int) -> None:
    assert 1 <= image_token_formula(f"openai_patches:{budget}:100")(width, height, "high") <= budget


@pytest.mark.parametrize(
    ("size", "tiles"), [((560, 560), 1), ((300, 200), 1), ((1120, 560), 2), ((560, 2240), 4), ((1024, 768), 4)]
)
def test_llama_takes_the_canvas_that_scales_least(size: tuple[int, int], tiles: int) -> None:
    assert IMAGE_TOKENS["llama_tiles"](*size, "auto") == 1601 * tiles


@pytest.mark.parametrize(
    ("family", "detail", "tokens"),
    [
        ("gpt54", "auto", 2_942),
        ("gpt54", "original", 11_868),
        ("gpt55", "high", 2_942),
        ("gpt55", "auto", 11_868),
        ("gpt56", "low", 2_942),
        ("gpt56", "original", 14_364),
    ],
)
def test_the_original_detail_keeps_more_and_newer_models_choose_it(family: str, detail: str, tokens: int) -> None:
    assert IMAGE_TOKENS[f"openai_patches_{family}"](4_032, 3_024, detail) == tokens


@pytest.mark.parametrize("family", IMAGE_TOKENS)
@given(width=SIDES, height=SIDES)
def test_no_detail_takes_more_than_the_original_and_auto_is_never_below_high(
    family: str, width: int, height: int
) -> None:
    count = IMAGE_TOKENS[family]
    low, high, auto, original = (count(width, height, detail) for detail in ("low", "high", "auto", "original"))
    assert low <= high <= auto <= original or family in FLOORED
    assert auto >= high - 100
