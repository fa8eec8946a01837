"""A provider's own count of a reply's tokens, as in the `usage` of an OpenAI-compatible reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

LARGEST_COUNT = 1_000_000_000
"""The largest count that is accepted; a larger count is rejected as invalid."""


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

    By OpenAI's convention, cached tokens are part of `prompt_tokens` and reasoning tokens part of
    `completion_tokens`, and are never added to them. `total_tokens`, which counts everything, reveals two others:

    * If it exceeds the sum of both by exactly the cache tokens, the cache tokens are not part of `prompt_tokens`, as
      in Anthropic's own counts, and are added to the input.
    * If it exceeds the sum by another number, the rest is reasoning: Gemini's endpoint leaves reasoning out of
      `completion_tokens`, and bills it as output.
    """
    usage = payload.get("usage") if isinstance(payload, dict) else None
    if not isinstance(usage, dict):
        return None
    inputs, outputs = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if inputs is None or outputs is None:
        return None
    total = _count(usage, "total_tokens") or 0
    if "prompt_tokens_details" not in usage and "completion_tokens_details" not in usage and total <= inputs + outputs:
        return Usage(inputs, outputs, *_cache_beside(usage))
    cached, written = _cache(usage)
    reasoning = _count(_details(usage, "completion_tokens_details"), "reasoning_tokens") or 0
    beside = total - inputs - outputs
    if beside > 0 and beside == cached + written:
        inputs += beside
    elif beside > 0:
        reasoning = max(reasoning, beside)
        outputs += beside
    outputs = max(outputs, reasoning)  # the output cannot be less than the reasoning, which is part of it
    return Usage(inputs, outputs, cached, written, reasoning)


def _cache(usage: Mapping[str, Any]) -> tuple[int, int]:
    """Return the tokens read from the cache and written to it: OpenAI's `cached_tokens`, OpenRouter's
    `cache_write_tokens`.
    """
    details = _details(usage, "prompt_tokens_details")
    cached, written = _cache_beside(usage)
    return (
        _count(details, "cached_tokens") or cached,
        _count(details, "cache_write_tokens") or _count(details, "cache_creation_tokens") or written,
    )


def _cache_beside(usage: Mapping[str, Any]) -> tuple[int, int]:
    """Return the same counts under other names: DeepSeek's, and Anthropic's, which LiteLLM and others pass on."""
    if len(usage) <= 3:  # the usual case: no cache counts
        return 0, 0
    return (
        _count(usage, "prompt_cache_hit_tokens") or _count(usage, "cache_read_input_tokens") or 0,
        _count(usage, "cache_creation_input_tokens") or 0,
    )


def _details(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = usage.get(name)
    return found if isinstance(found, dict) else {}


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    """Return the count if it is valid, else None."""
    found = usage.get(name)
    return found if type(found) is int and 0 <= found <= LARGEST_COUNT else None
