"""Candidates from their sections of the configuration: prices, formulas, and defaults for what is left out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from gateway.billing.image_tokens import image_token_formula
from gateway.billing.price import Price
from gateway.billing.price_list import PriceRequest, price_of
from gateway.billing.text_tokens import DEFAULT_TOKENIZER, tokenizer_named
from gateway.config.settings import CandidateConfig, ProviderConfig, Settings
from gateway.routing.capabilities import AUDIO, IMAGES, TOOLS, Capabilities
from gateway.routing.catalog import Candidate, ImageTokens
from gateway.routing.decision import PAGE_TEXT_TOKENS
from gateway.routing.model_families import known_capabilities, refuses_max_tokens

LONGEST_OVER_MEAN = 230
"""Percent: the 90% quantile of an exponential distribution over its mean, assumed for lengths of reasoning."""

PAGE_PIXELS = (2_480, 3_508)
"""A page of A4 at 300 dots an inch: at least what a provider makes a page of a PDF into."""

USUAL_TOKENIZERS = {
    "anthropic_patches_large": "anthropic_2026",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "qwen": "qwen",
    "internvl": "qwen",
    "llama": "llama3",
    "pixtral": "mistral_tekken",
}
"""The default tokenizer by the beginning of the image formula's name; all others use OpenAI's."""


def candidate_of(section: CandidateConfig, settings: Settings) -> Candidate:
    """Return the candidate of a section. Raises ConfigError for an unknown price or image-token formula."""
    base_url = settings.providers[section.provider].base_url
    image_tokens = image_token_formula(section.image_tokens)
    capabilities = _capabilities(section, base_url)
    price, prices = _price(section, base_url, takes_audio=not capabilities.lacks & AUDIO)
    return Candidate(
        name=section.name,
        provider=section.provider,
        provider_model=section.provider_model or section.name,
        price=price,
        prices=prices,
        image_tokens=image_tokens,
        forecast_as=section.forecast_as or section.name,
        context_tokens=section.context_tokens,
        max_output_tokens=section.max_output_tokens,
        sees_images=not capabilities.lacks & IMAGES,
        calls_tools=not capabilities.lacks & TOOLS,
        capabilities=capabilities,
        page_tokens=section.pdf_tokens_per_page or _page_tokens(image_tokens),
        audio_tokens_per_second=section.audio_tokens_per_second,
        tokenizer=tokenizer_named(section.tokenizer or _usual_tokenizer(section.image_tokens)),
        reasoning_tokens=(section.reasoning_tokens, section.reasoning_tokens * LONGEST_OVER_MEAN // 100),
        limit_parameter=_limit_parameter(section, settings.providers[section.provider]),
        caches_by_itself=_caches_by_itself(section, price),
        limits_itself="max_output_tokens" in section.model_fields_set,
        reports_usage=settings.providers[section.provider].stream_options,
    )


def _caches_by_itself(section: CandidateConfig, price: Price) -> bool:
    """Return whether its provider may write input to a cache at a higher price, without being asked to.

    OpenAI does since GPT-5.6 (https://platform.openai.com/docs/guides/prompt-caching). Claude writes only what
    `cache_control` names (https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching).
    """
    if section.caches_by_itself is not None:
        return section.caches_by_itself
    asks_first = "claude" in (section.provider_model or section.name).lower()
    return price.charges_for_writing and not asks_first


def _limit_parameter(section: CandidateConfig, provider: ProviderConfig) -> str | None:
    name = section.limit_parameter or provider.limit_parameter or _usual_limit_parameter(section)
    return None if name == "none" else name


def _price(section: CandidateConfig, base_url: str, *, takes_audio: bool) -> tuple[Price, str]:
    asked = PriceRequest(
        candidate=section.name,
        model=section.provider_model or section.name,
        provider=section.provider,
        base_url=base_url,
        price_as=section.price_as,
        input_usd=section.input_usd_per_mtok,
        output_usd=section.output_usd_per_mtok,
        cached_input_usd=section.cached_input_usd_per_mtok,
        cache_write_usd=section.cache_write_usd_per_mtok,
        takes_audio=takes_audio,
    )
    return price_of(asked, datetime.now(UTC))


def _capabilities(section: CandidateConfig, base_url: str) -> Capabilities:
    """Return what is known of the candidate's model, with what its section declares."""
    declared = dict(section.capabilities)
    if "sees_images" in section.model_fields_set:
        declared["images"] = section.sees_images
    if "calls_tools" in section.model_fields_set:
        declared["tools"] = section.calls_tools
    return known_capabilities(section.provider_model or section.name, base_url).declared(declared)


def _usual_limit_parameter(section: CandidateConfig) -> Literal["max_tokens", "max_completion_tokens"]:
    if section.reasons or refuses_max_tokens(section.provider_model or section.name):
        return "max_completion_tokens"
    return "max_tokens"


def _page_tokens(image_tokens: ImageTokens) -> int:
    return image_tokens(*PAGE_PIXELS, "high") + PAGE_TEXT_TOKENS


def _usual_tokenizer(image_tokens: str) -> str:
    return next(
        (name for family, name in USUAL_TOKENIZERS.items() if image_tokens.startswith(family)), DEFAULT_TOKENIZER.name
    )
