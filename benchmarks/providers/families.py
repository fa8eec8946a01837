"""Twelve unlike providers: where each is, what it sells and at which price, what it refuses, and how it replies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from benchmarks.providers import refusals
from benchmarks.providers.asked import Asked, ImageCount, anthropic_area, flat, gemini_tiles, openai_tiles

UNKNOWN = ".example"
"""A suffix of host names that makes them unknown (RFC 2606)."""
UsageShape = Literal["openai", "reasoning", "gemini", "openrouter", "groq", "moonshot", "none"]
StreamHabit = Literal["role_first", "empty_first", "comments_first", "plain"]


@dataclass(frozen=True)
class Family:
    """One fake provider.

    Attributes:
        host: its address; the gateway reaches all of them through one HTTP proxy, so that it sees the true names.
        usd: USD per million tokens in and out; `cached_usd` for input read from the cache, if it has one.
        formula: the name of the gateway's formula for its pictures; `image_tokens` is the provider's own count.
        forecast_as: the bundled router's column that stands for the model.
        ignores: needs that it neither meets nor refuses; an operator has to declare them.
        declared: what the operator declares of the candidate, and `provider` of the provider.
        thinks: True if it reasons before it replies, within the limit, and bills the reasoning as output.
    """

    name: str
    model: str
    host: str
    usd: tuple[float, float]
    rule: refusals.Rule
    formula: str
    image_tokens: ImageCount
    forecast_as: str
    context: int
    most_output: int
    usage: UsageShape = "openai"
    habit: StreamHabit = "role_first"
    cached_usd: float | None = None
    path: str = "/v1"
    ignores: frozenset[str] = frozenset()
    declared: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    provider: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    thinks: bool = False

    @property
    def key(self) -> str:
        """The host as it stands in a request line."""
        return self.host + self.path

    def input_tokens(self, asked: Asked) -> int:
        return asked.input_tokens(self.image_tokens)

    def refuses(self, asked: Asked) -> refusals.Refusal | None:
        """Return the provider's refusal, or None if it would serve this body."""
        tokens = self.input_tokens(asked)
        if self.name == "vllm" and (refused := refusals.vllm(asked, tokens)):
            return refused
        if tokens + 1 > self.context:
            said = f"This model's maximum context length is {self.context} tokens, your messages have {tokens}."
            return refusals.openai_error(400, said, param="messages", code="context_length_exceeded")
        if (asked.limit or 0) > self.most_output:
            said = f"max_tokens is too large: {asked.limit}. This model supports at most {self.most_output}."
            return refusals.openai_error(400, said, param="max_tokens", code="invalid_value")
        return self.rule(asked)

    def can_serve(self, asked: Asked) -> bool:
        """Return whether the provider serves this body, and gives all that it asks for."""
        needs = {"n"} if asked.choices > 1 else set()
        needs |= {"logprobs"} if asked.body.get("logprobs") else set()
        needs |= {"json_schema"} if asked.format == "json_schema" else set()
        return not needs & self.ignores and self.refuses(asked) is None

    def bill(self, inputs: int, outputs: int, cached: int) -> int:
        """Return the nanodollars for these tokens, rounded up once; `cached` is part of the input."""
        plain, out = (round(usd * 1e9) for usd in self.usd)
        read = plain if self.cached_usd is None else round(self.cached_usd * 1e9)
        return -(-(plain * (inputs - cached) + read * cached + out * outputs) // 1_000_000)


def _pass(_: Asked) -> None:
    return None


FAMILIES = (
    Family(
        "openai",
        "gpt-4o",
        "api.openai.com",
        (2.5, 10.0),
        refusals.openai_chat,
        "openai_tiles",
        openai_tiles(85, 170),
        "GPT-4o",
        128_000,
        16_384,
        cached_usd=1.25,
        declared={"capabilities": {"pdf": True}},
    ),
    Family(
        "openai-reasoning",
        "o4-mini",
        "api.openai.com",
        (1.1, 4.4),
        refusals.openai_reasoning,
        "openai_tiles_reasoning",
        openai_tiles(75, 150),
        "Gemini-1.5-Pro",
        200_000,
        100_000,
        usage="reasoning",
        cached_usd=0.275,
        declared={"capabilities": {"pdf": True}},
        thinks=True,
    ),
    Family(
        "azure",
        "gpt-4o-2024-11-20",
        "unlike.openai.azure.com",
        (2.75, 11.0),
        refusals.azure,
        "openai_tiles",
        openai_tiles(85, 170),
        "GPT-4o",
        128_000,
        16_384,
        habit="empty_first",
        path="/openai/v1",
    ),
    Family(
        "anthropic",
        "claude-sonnet-4-20250514",
        "api.anthropic.com",
        (3.0, 15.0),
        refusals.anthropic,
        "anthropic_area",
        anthropic_area,
        "Claude-3.5-Sonnet",
        200_000,
        64_000,
        ignores=frozenset({"logprobs", "json_schema"}),
    ),
    Family(
        "gemini",
        "gemini-2.5-flash",
        "generativelanguage.googleapis.com",
        (0.3, 2.5),
        refusals.gemini,
        "gemini_tiles",
        gemini_tiles,
        "Gemini-1.5-Pro",
        1_000_000,
        65_536,
        usage="gemini",
        habit="plain",
        path="/v1beta/openai",
        declared={"capabilities": {"pdf": True}},
        thinks=True,
    ),
    Family(
        "openrouter",
        "qwen/qwen2.5-vl-72b-instruct",
        "openrouter.ai",
        (0.7, 0.7),
        refusals.openrouter,
        "flat:1100",
        flat(1_100),
        "Qwen2-VL-72B",
        32_768,
        8_192,
        usage="openrouter",
        habit="comments_first",
        path="/api/v1",
        ignores=frozenset({"logprobs"}),
        declared={"capabilities": {"pdf": True, "logprobs": False}},
    ),
    Family(
        "groq",
        "meta-llama/llama-4-scout-17b-16e-instruct",
        "api.groq.com",
        (0.11, 0.34),
        refusals.groq,
        "flat:1601",
        flat(1_601),
        "Llama-3.2-90B-Vision",
        131_072,
        8_192,
        usage="groq",
        path="/openai/v1",
    ),
    Family(
        "mistral",
        "mistral-small-latest",
        "api.mistral.ai",
        (0.1, 0.3),
        refusals.mistral,
        "flat:900",
        flat(900),
        "InternVL2-76B",
        128_000,
        8_192,
        habit="plain",
    ),
    Family(
        "vllm",
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "vllm.internal",
        (0.15, 0.15),
        _pass,
        "flat:1300",
        flat(1_300),
        "Qwen2-VL-7B",
        refusals.VLLM_CONTEXT,
        4_096,
    ),
    Family(
        "ollama",
        "gemma3:4b",
        "ollama.internal",
        (0.05, 0.08),
        refusals.ollama,
        "flat:256",
        flat(256),
        "InternVL2-8B",
        32_768,
        4_096,
        habit="plain",
        ignores=frozenset({"n", "logprobs"}),
        declared={"capabilities": {"n": False, "logprobs": False}},
    ),
    Family(
        "moonshot",
        "kimi-latest",
        "api.moonshot.ai",
        (0.6, 2.5),
        refusals.moonshot,
        "flat:1024",
        flat(1_024),
        "Qwen2-VL-72B",
        131_072,
        8_192,
        usage="moonshot",
        cached_usd=0.15,
    ),
    Family(
        "fastapi",
        "house-model",
        "models.internal",
        (0.04, 0.06),
        refusals.fastapi,
        "flat:576",
        flat(576),
        "InternVL2-8B",
        16_384,
        4_096,
        usage="none",
        habit="plain",
        provider={"stream_options": False},
    ),
)
"""Prices are the vendors' list prices of 2025, and made up for the three servers of one's own."""
