"""Candidates from their sections: what is left out follows from what is there."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.candidates import candidate_of
from gateway.config.settings import Settings
from gateway.errors import ConfigError
from gateway.routing.capabilities import AUDIO, IMAGES, TOOLS
from gateway.routing.catalog import Candidate


def made(**section: Any) -> Candidate:
    settings = Settings.model_validate(
        {
            "providers": {"openai": {"base_url": "https://api.openai.com/v1"}},
            "candidates": [{"name": "fast", "provider": "openai", **section}],
            "tenants": [{"name": "acme", "keys": [{"env": "KEY"}]}],
        }
    )
    return candidate_of(settings.candidates[0], settings)


def test_a_candidate_without_a_price_has_the_lists() -> None:
    found = made(provider_model="gpt-4o")
    assert (found.price.input_per_million, found.price.output_per_million) == (2_500_000_000, 10_000_000_000)
    assert found.prices.startswith("genai-prices ")


def test_a_candidate_that_the_list_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match="candidate fast: genai-prices has no 'fast' of openai"):
        made()


def test_a_candidate_that_reasons_is_sent_the_limit_that_bounds_its_reasoning() -> None:
    prices = {"input_usd_per_mtok": 1, "output_usd_per_mtok": 4}
    plain, reasons = made(**prices), made(**prices, reasons=True, reasoning_tokens=1_000)
    assert (plain.limit_parameter, plain.reasoning_tokens) == ("max_tokens", (0, 0))
    assert (reasons.limit_parameter, reasons.reasoning_tokens) == ("max_completion_tokens", (1_000, 2_300))
    assert made(**prices, reasons=True, limit_parameter="max_tokens").limit_parameter == "max_tokens"
    assert made(**prices, provider_model="openai/o3").limit_parameter == "max_completion_tokens"


def test_amounts_in_usd_are_read_to_the_nanodollar() -> None:
    price = made(input_usd_per_mtok=0.1, output_usd_per_mtok=0.7, cached_input_usd_per_mtok=0.003).price
    assert (price.input_per_million, price.output_per_million) == (100_000_000, 700_000_000)
    assert price.cached_input_per_million == 3_000_000


@pytest.mark.parametrize(
    ("image_tokens", "tokenizer"),
    [
        ("openai_tiles_mini", "openai_o200k"),
        ("anthropic_patches_large", "anthropic_2026"),
        ("anthropic_area", "anthropic"),
        ("gemini_tiles", "gemini"),
        ("internvl_tiles", "qwen"),
        ("flat:576", "openai_o200k"),
    ],
)
def test_a_tokenizer_that_is_not_set_follows_from_the_family(image_tokens: str, tokenizer: str) -> None:
    section = {"input_usd_per_mtok": 1, "output_usd_per_mtok": 1, "image_tokens": image_tokens}
    assert made(**section).tokenizer.name == tokenizer
    assert made(**section, tokenizer="llama3").tokenizer.name == "llama3"


PRICES = {"input_usd_per_mtok": 1, "output_usd_per_mtok": 4}


def test_capabilities_are_those_of_the_model_and_the_section_has_the_last_word() -> None:
    known = made(**PRICES, provider_model="o3")
    assert "temperature" in known.drops
    told = made(**PRICES, provider_model="o3", capabilities={"temperature": True, "seed": False, "audio": True})
    assert "temperature" not in told.drops
    assert "seed" in told.drops
    assert known.lacks & AUDIO
    assert not told.lacks & AUDIO


def test_the_keys_for_images_and_tools_are_capabilities_too() -> None:
    assert made(**PRICES, sees_images=False).lacks & IMAGES
    assert made(**PRICES, calls_tools=False).lacks & TOOLS
    assert made(**PRICES, capabilities={"images": False, "tools": False}).lacks & (IMAGES | TOOLS) == IMAGES | TOOLS
    assert made(**PRICES, provider_model="o1-mini").lacks & TOOLS
    assert not made(**PRICES, provider_model="o1-mini", calls_tools=True).lacks & TOOLS


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ({"capabilities": {"telepathy": True}}, "unknown capability 'telepathy'; known: images, pdf"),
        ({"capabilities": {"images": True}, "sees_images": True}, "sees_images is the same as capabilities: images"),
        ({"capabilities": {"tools": True}, "calls_tools": False}, "calls_tools is the same as capabilities: tools"),
        ({"capabilities": {"pdf": "yes please"}}, "capabilities"),
    ],
)
def test_a_capability_that_is_none_or_is_told_twice_is_refused(section: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        made(**PRICES, **section)


def test_a_page_takes_its_text_and_a_picture_unless_the_section_says_otherwise() -> None:
    assert made(**PRICES, image_tokens="flat:500").page_tokens == 3_500
    assert made(**PRICES, pdf_tokens_per_page=258, audio_tokens_per_second=10).page_tokens == 258
    assert made(**PRICES, audio_tokens_per_second=10).audio_tokens_per_second == 10


def test_a_list_that_asks_more_for_sound_does_not_price_a_candidate_that_takes_it() -> None:
    model = {"provider_model": "gpt-audio", "capabilities": {"audio": True}}
    with pytest.raises(
        ConfigError, match=r"another price for sound .*; set input_usd_per_mtok and output_usd_per_mtok"
    ):
        made(**model)
    assert not made(**model, **PRICES).lacks & AUDIO


@pytest.mark.parametrize(
    ("written", "model", "told", "caches"),
    [
        (3.0, "gpt-5.6", None, True),
        (2.0, "gpt-5.6", None, False),
        (None, "gpt-5.6", None, False),
        (3.0, "anthropic/Claude-Sonnet", None, False),
        (3.0, "anthropic/Claude-Sonnet", True, True),
        (3.0, "gpt-5.6", False, False),
    ],
)
def test_a_price_of_writing_means_that_the_provider_may_write_unasked(
    written: float | None, model: str, told: bool | None, caches: bool
) -> None:
    prices = {"input_usd_per_mtok": 2.0, "output_usd_per_mtok": 8.0, "cache_write_usd_per_mtok": written}
    assert made(**prices, provider_model=model, caches_by_itself=told).caches_by_itself == caches
