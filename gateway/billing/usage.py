"""A provider's own count of a reply's tokens, as in the `usage` of an OpenAI-compatible reply."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

LARGEST_COUNT = 1_000_000_000
"""The largest count that is accepted; a larger count is rejected as invalid."""


USUAL_MEMBERS = 3


class Usage(NamedTuple):
    """The billed tokens: input, and output over all choices.

    Attributes:
        cached_tokens: the part of the input that was read from the provider's prompt cache.
        written_tokens: the part of the input that was written to that cache, if the provider reports it.
        reasoning_tokens: the part of the output that the model used to reason and did not send.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    written_tokens: int = 0
    reasoning_tokens: int = 0


def usage_of(payload: Any) -> Usage | None:
    """Return the usage of a reply or a chunk; None for a missing or invalid usage.

    It is read from `usage`, from Groq's `x_groq.usage`, or from the choices, where Moonshot's streams have it
    (https://console.groq.com/docs/api-reference#chat-create, https://platform.moonshot.ai/docs/api/chat).
    """
    if not isinstance(payload, dict):
        return None
    found = payload.get("usage")
    usage = _usage(found) if isinstance(found, dict) else None
    if usage is not None and usage.input_tokens and usage.output_tokens:
        return usage
    if "x_groq" in payload:
        usage = larger(usage, _usage(_details(_details(payload, "x_groq"), "usage")))
    if isinstance(payload.get("choices"), list):
        for choice in payload["choices"]:
            if isinstance(choice, dict) and "usage" in choice:
                usage = larger(usage, _usage(_details(choice, "usage")))
    return usage


def larger(one: Usage | None, other: Usage | None) -> Usage | None:
    """Return a usage of the larger input, with its cache counts, and the larger output; `other` if they are equal.

    Providers that count while they send repeat a growing usage; some end with one of zeros, which says nothing.
    """
    if one is None or other is None:
        return one or other
    inputs = one if one.input_tokens > other.input_tokens else other
    outputs = one if one.output_tokens > other.output_tokens else other
    return Usage(
        inputs.input_tokens,
        outputs.output_tokens,
        inputs.cached_tokens,
        inputs.written_tokens,
        outputs.reasoning_tokens,
    )


def _usage(usage: Mapping[str, Any]) -> Usage | None:
    """Return the usage of one usage object.

    By OpenAI's convention, cached tokens are part of `prompt_tokens` and reasoning tokens part of
    `completion_tokens`, and are never added to them. `total_tokens`, which counts everything, reveals others:

    * If it exceeds the sum of both by exactly the cache tokens, the cache tokens are not part of `prompt_tokens`, as
      in Anthropic's own counts, and are added to the input.
    * If it exceeds the sum by another number, the rest is reasoning: Gemini's endpoint leaves reasoning out of
      `completion_tokens`, and bills it as output.
    * If a count is missing, it is what the other count leaves of the total: Gemini's endpoint leaves
      `completion_tokens` out when reasoning took all of the limit.
    """
    if len(usage) == USUAL_MEMBERS:  # a prompt, a completion and their sum, and nothing that could say more
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if type(prompt) is int and type(completion) is int and 0 < prompt < LARGEST_COUNT > completion > 0:
            total = usage.get("total_tokens")
            if type(total) is int and total == prompt + completion:
                return Usage(prompt, completion)
    inputs = _either(usage, "prompt_tokens", "input_tokens")
    outputs = _either(usage, "completion_tokens", "output_tokens")
    total = _count(usage, "total_tokens")
    cached, written = _cache(usage)
    reasoning = _count(_either_details(usage, "completion_tokens_details", "output_tokens_details"), "reasoning_tokens")
    reasoning = reasoning or _count(usage, "reasoning_tokens") or 0
    missed = _count(usage, "prompt_cache_miss_tokens")
    if missed is not None:  # DeepSeek: the prompt is what hit the cache and what missed it
        inputs = max(inputs or 0, cached + missed)
    if inputs is not None and _counts_cache_apart(usage, inputs, cached + written):
        inputs += cached + written
    if total is not None and (inputs is None) != (outputs is None):
        known = (inputs or 0) + (outputs or 0)
        if known > total:
            return None
        inputs = total - known if inputs is None else inputs
        outputs = total - known if outputs is None else outputs
    if inputs is None or outputs is None:
        return None
    beside = (total or 0) - inputs - outputs
    if beside > 0 and beside == cached + written:
        inputs += beside
    elif beside > 0:
        reasoning = max(reasoning, beside)
        outputs += beside
    outputs = max(outputs, reasoning)  # the output cannot be less than the reasoning, which is part of it
    return Usage(inputs, outputs, cached, written, reasoning)


def _counts_cache_apart(usage: Mapping[str, Any], inputs: int, cache: int) -> bool:
    """Return whether the input is without the cache's tokens, where no total tells.

    Anthropic's own usage is so: `input_tokens` beside `cache_read_input_tokens` and `cache_creation_input_tokens`
    (https://docs.anthropic.com/en/api/messages).
    """
    if not cache or ("total_tokens" in usage and _either(usage, "completion_tokens", "output_tokens") is not None):
        return False
    is_anthropic = "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage
    return is_anthropic and (cache > inputs or not _count(usage, "prompt_tokens"))


def _cache(usage: Mapping[str, Any]) -> tuple[int, int]:
    """Return the tokens read from the cache and written to it.

    They are OpenAI's `cached_tokens` and OpenRouter's `cache_write_tokens` in the details, or stand beside the other
    counts under other names: DeepSeek's, Moonshot's, and Anthropic's, which LiteLLM and others pass on.
    """
    details = _either_details(usage, "prompt_tokens_details", "input_tokens_details")
    cached = (
        _count(details, "cached_tokens")
        or _count(usage, "prompt_cache_hit_tokens")
        or _count(usage, "cache_read_input_tokens")
        or _count(usage, "cached_tokens")
    )
    written = (
        _count(details, "cache_write_tokens")
        or _count(details, "cache_creation_tokens")
        or _count(usage, "cache_creation_input_tokens")
    )
    return cached or 0, written or 0


def _either(usage: Mapping[str, Any], name: str, other: str) -> int | None:
    """Return the larger of two counts that mean the same; None if both are missing or invalid."""
    first, second = _count(usage, name), _count(usage, other)
    if first is None or second is None:
        return second if first is None else first
    return max(first, second)


def _either_details(usage: Mapping[str, Any], name: str, other: str) -> Mapping[str, Any]:
    return _details(usage, name) or _details(usage, other)


def _details(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = usage.get(name)
    return found if isinstance(found, dict) else {}


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    """Return the count if it is valid, else None. A fraction is rounded up; a string of decimal digits is a number."""
    found = usage.get(name)
    if found is None or found is True or found is False:
        return None
    if type(found) is str and len(found) <= 20 and found.isascii() and found.replace(".", "", 1).isdecimal():
        found = float(found)
    if type(found) is float and 0 <= found <= LARGEST_COUNT:  # neither NaN nor infinite
        found = math.ceil(found)
    return found if type(found) is int and 0 <= found <= LARGEST_COUNT else None
