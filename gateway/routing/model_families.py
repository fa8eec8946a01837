"""The capabilities of known model families and provider addresses, with the pages that say so.

Every row that matches a candidate applies: a row of a *model* tells what the model cannot do wherever it is served, a
row of an *address* what that API refuses. `capabilities` in the configuration has the last word.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.routing.capabilities import ASSUMED, Capabilities


class ModelFamily(NamedTuple):
    """A row: which candidates it is about, what they lack, and what they have beyond what is assumed.

    Attributes:
        model: a pattern for the end of the provider's model name, after any `vendor/`, in lower case.
        host: a pattern for the provider's host name.
        lacks, has: names of capabilities, separated by spaces.
        source: the page that says so.
    """

    model: str
    host: str
    lacks: str
    has: str
    source: str


OPENAI_HOSTS = r"(.*\.)?api\.openai\.com|.*\.openai\.azure\.com"
EXTENSIONS = "top_k top_a min_p repetition_penalty reasoning provider transforms"
"""Members of OpenRouter and of servers of open models, which OpenAI refuses as unrecognized arguments."""

REASONERS = r"(o[134]|codex-mini|gpt-[5-9])(?!.*chat)(\b|[-.]).*"
"""OpenAI's models that reason."""

FAMILIES = (
    ModelFamily(
        REASONERS,
        ".*",
        "temperature top_p presence_penalty frequency_penalty logprobs logit_bias",
        "",
        "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/reasoning (not supported); "
        "https://platform.openai.com/docs/guides/reasoning",
    ),
    ModelFamily(
        r"(o3|o4-mini|gpt-5)(?!.*chat)(\b|[-.]).*",
        ".*",
        "stop",
        "",
        "https://platform.openai.com/docs/api-reference/chat/create (stop: not with the latest reasoning models)",
    ),
    ModelFamily(
        r"(o[134]|codex-mini)\b.*",
        ".*",
        "parallel_tool_calls verbosity",
        "",
        "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/reasoning (parallel tool calls, verbosity)",
    ),
    ModelFamily(
        r"o1-(mini|preview)\b.*",
        ".*",
        "images tools json_schema json_object n developer_role reasoning_effort",
        "",
        "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/reasoning (o1-mini, o1-preview)",
    ),
    ModelFamily(r"o3-mini.*", ".*", "images", "", "https://platform.openai.com/docs/models/o3-mini (text only)"),
    ModelFamily(
        r"(gpt-3\.5|gpt-4|chatgpt-4|gpt-5[^/]*chat|gpt-audio).*",
        OPENAI_HOSTS,
        "reasoning_effort verbosity",
        "",
        "https://platform.openai.com/docs/api-reference/chat/create (reasoning_effort, verbosity)",
    ),
    ModelFamily(".*", OPENAI_HOSTS, EXTENSIONS, "", "https://platform.openai.com/docs/api-reference/chat/create"),
    ModelFamily(
        r"(gpt-4o|gpt-4\.1|o1(?!-mini)|o3(?!-mini)|o4-mini|gpt-[5-9])(?!.*(audio|search|preview)).*",
        r"api\.openai\.com",
        "",
        "pdf",
        "https://platform.openai.com/docs/guides/pdf-files (models with vision take files)",
    ),
    ModelFamily(
        ".*",
        r"api\.anthropic\.com",
        "n logprobs logit_bias json_schema json_object presence_penalty frequency_penalty seed verbosity "
        f"reasoning_effort prediction service_tier {EXTENSIONS}",
        "",
        "https://docs.anthropic.com/en/api/openai-sdk (n must be 1; the others are ignored)",
    ),
    ModelFamily(
        ".*",
        r"api\.groq\.com",
        "n logprobs logit_bias",
        "",
        "https://console.groq.com/docs/openai (unsupported: a 400 error)",
    ),
    ModelFamily(
        ".*",
        r"generativelanguage\.googleapis\.com",
        "presence_penalty frequency_penalty seed logit_bias logprobs verbosity store metadata user prediction "
        f"safety_identifier prompt_cache_key developer_role {EXTENSIONS}",
        "",
        "https://ai.google.dev/gemini-api/docs/openai; ChatterUI issue 227 (unknown name frequency_penalty, seed: 400)",
    ),
    ModelFamily(
        ".*",
        r"api\.mistral\.ai",
        f"seed logprobs logit_bias verbosity store user service_tier developer_role safety_identifier {EXTENSIONS}",
        "",
        "https://docs.mistral.ai/api; mistralai/platform-docs-public issue 7 (extra inputs are not permitted: 422)",
    ),
    ModelFamily(
        r"deepseek.*",
        ".*",
        "developer_role",
        "",
        "earendil-works/pi issue 1048 (unknown variant developer: 400)",
    ),
    ModelFamily(
        ".*",
        r"api\.deepseek\.com",
        "n images json_schema logit_bias seed developer_role",
        "",
        "https://api-docs.deepseek.com/api/create-chat-completion (response_format: text or json_object)",
    ),
    ModelFamily(
        r"(qwen|llama|llava|gemma|internvl|mistral|mixtral|pixtral|phi|minicpm|glm|molmo|yi-|meta-llama).*",
        ".*",
        "developer_role",
        "",
        "the chat templates of these models on https://huggingface.co know system, user, assistant and tool",
    ),
)


def known_capabilities(model: str, base_url: str) -> Capabilities:
    """Return what is known of a model at a provider's address, and what is assumed where nothing is known."""
    name = _plain(model)
    host = urlsplit(base_url).hostname or ""
    without = set(ASSUMED.without)
    for family in FAMILIES:
        if re.fullmatch(family.model, name) and re.fullmatch(family.host, host):
            without.update(family.lacks.split())
            without.difference_update(family.has.split())
    return Capabilities(frozenset(without))


def refuses_max_tokens(model: str) -> bool:
    """Return whether a model takes its output limit as `max_completion_tokens` alone.

    Source: https://platform.openai.com/docs/api-reference/chat/create (max_tokens: not for o-series models).
    """
    return re.fullmatch(REASONERS, _plain(model)) is not None


def _plain(model: str) -> str:
    """Return a model's name in lower case, without `vendor/` and without a variant such as `:free`."""
    return model.lower().rpartition("/")[2].partition(":")[0]
