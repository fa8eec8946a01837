"""What each provider refuses, and in which words: functions from what was asked to a refusal, or to None.

They are the providers' documented rules and the texts of public reports, written here anew. The gateway's own tables
are not read: whether a candidate can serve a request is decided by these rules alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from benchmarks.providers.asked import Asked
from benchmarks.providers.prose import tokens_of

FLAGGED = "Describe how the weapon in this scene wounds the man."
"""A sentence that a content filter stops."""


class Refusal(NamedTuple):
    """A status and a JSON body."""

    status: int
    body: Any


Rule = Callable[[Asked], Refusal | None]
_OPENAI_MEMBERS = (
    "model messages stream stream_options max_tokens max_completion_tokens temperature top_p n stop seed user metadata "
    "store logprobs top_logprobs logit_bias tools tool_choice parallel_tool_calls response_format presence_penalty "
    "frequency_penalty reasoning_effort verbosity service_tier"
)
_OPENAI = frozenset(_OPENAI_MEMBERS.split())


def openai_error(status: int, message: str, *, param: str | None = None, code: str | None = None) -> Refusal:
    """Return a refusal as OpenAI writes it (https://platform.openai.com/docs/guides/error-codes)."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Refusal(status, {"error": error})


def _unknown(asked: Asked, known: Iterable[str]) -> str | None:
    return next((name for name in asked.body if name not in known), None)


def openai_chat(asked: Asked) -> Refusal | None:
    """Refuse unknown arguments (https://platform.openai.com/docs/api-reference/chat/create)."""
    unknown = _unknown(asked, _OPENAI - {"reasoning_effort", "verbosity"})
    return openai_error(400, f"Unrecognized request argument supplied: {unknown}") if unknown else None


def openai_reasoning(asked: Asked) -> Refusal | None:
    """Refuse what models that reason do not take: max_tokens, sampling, stop, logprobs.

    https://platform.openai.com/docs/guides/reasoning, https://github.com/BerriAI/litellm/issues/13327
    """
    if unknown := _unknown(asked, _OPENAI):
        return openai_error(400, f"Unrecognized request argument supplied: {unknown}")
    if "max_tokens" in asked.body:
        said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
        return openai_error(400, said, param="max_tokens", code="unsupported_parameter")
    if asked.body.get("temperature", 1) != 1:
        said = "Unsupported value: 'temperature' does not support this value with this model. Only the default (1)."
        return openai_error(400, said, param="temperature", code="unsupported_value")
    for name in ("top_p", "stop", "logprobs", "top_logprobs", "presence_penalty", "logit_bias", "parallel_tool_calls"):
        if name in asked.body:
            said = f"Unsupported parameter: '{name}' is not supported with this model."
            return openai_error(400, said, param=name, code="unsupported_parameter")
    return None


def azure(asked: Asked) -> Refusal | None:
    """Filter content, and else refuse as OpenAI does.

    https://learn.microsoft.com/azure/ai-services/openai/concepts/content-filter
    """
    if FLAGGED in asked.text:
        said = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
        inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"violence": {"filtered": True}}}
        error = {"message": said, "type": None, "param": "prompt", "code": "content_filter", "status": 400}
        return Refusal(400, {"error": {**error, "innererror": inner}})
    if asked.pages:
        return openai_error(400, "Invalid Value: 'file'. This model does not support file content types.")
    return openai_chat(asked)


def anthropic(asked: Asked) -> Refusal | None:
    """Refuse n above 1 and files; other members are ignored (https://docs.anthropic.com/en/api/openai-sdk)."""
    if asked.choices > 1:
        return _anthropic("n: only 1 is supported")
    return _anthropic("messages: file content is not supported by this endpoint") if asked.pages else None


def anthropic_credit() -> Refusal:
    """Return the refusal of an empty account, a 400 (https://github.com/continuedev/continue/issues/5499)."""
    return _anthropic("Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.")


def _anthropic(message: str) -> Refusal:
    return Refusal(400, {"type": "error", "error": {"type": "invalid_request_error", "message": message}})


def gemini(asked: Asked) -> Refusal | None:
    """Refuse unknown names, with the error in an array.

    https://ai.google.dev/gemini-api/docs/openai, https://github.com/Vali-98/ChatterUI/issues/227
    """
    known = _OPENAI - {"seed", "user", "metadata", "store", "logprobs", "top_logprobs", "logit_bias"}
    if unknown := _unknown(asked, known - {"presence_penalty", "frequency_penalty", "verbosity"}):
        said = f'Invalid JSON payload received. Unknown name "{unknown}": Cannot find field.'
        return Refusal(400, [{"error": {"code": 400, "message": said, "status": "INVALID_ARGUMENT"}}])
    if "developer" in asked.roles:
        said = "Please use a valid role: user, model, system, tool; developer is not supported."
        return Refusal(400, [{"error": {"code": 400, "message": said, "status": "INVALID_ARGUMENT"}}])
    return None


def openrouter(asked: Asked) -> Refusal | None:
    """Pass the upstream's refusal on in metadata.raw (https://openrouter.ai/docs/api-reference/errors)."""
    if asked.choices > 1:
        raw = (
            '{"error":{"message":"n is not supported by this model: only 1 is allowed","code":"unsupported_parameter"}}'
        )
        metadata = {"raw": raw, "provider_name": "Upstream"}
        return Refusal(400, {"error": {"message": "Provider returned error", "code": 400, "metadata": metadata}})
    if asked.calls_tools and asked.images:
        said = "No endpoints found that support tool use. To learn more about provider routing, visit the docs."
        return Refusal(404, {"error": {"message": said, "code": 404}})
    return None


GROQ_TOKENS_PER_MINUTE = 6_000


def groq(asked: Asked) -> Refusal | None:
    """Refuse n, logprobs, logit_bias, schemas with streams or tools, and, with a 413, too many tokens a minute.

    https://console.groq.com/docs/openai, https://console.groq.com/docs/structured-outputs,
    https://github.com/assafelovic/gpt-researcher/issues/985
    """
    for name in ("logprobs", "top_logprobs", "logit_bias"):
        if name in asked.body:
            return openai_error(400, f"property '{name}' is unsupported, did you mean 'tools'?")
    if asked.choices > 1:
        return openai_error(400, "'n' : number must be at most 1")
    if asked.pages:
        return openai_error(400, "'messages.0' : discriminator property 'type' has invalid value")
    if asked.format == "json_schema" and (asked.streams or asked.calls_tools):
        return openai_error(400, "response_format json_schema does not support streaming or tool use")
    wanted = tokens_of(asked.text) + (asked.limit or 0)
    if wanted > GROQ_TOKENS_PER_MINUTE:
        said = f"Request too large for model on tokens per minute (TPM): Limit 6000, Requested {wanted}, please reduce."
        return Refusal(413, {"error": {"message": said, "type": "tokens", "code": "rate_limit_exceeded"}})
    return None


def mistral(asked: Asked) -> Refusal | None:
    """Refuse extra members with 422 and a list.

    https://docs.mistral.ai/api, https://github.com/mistralai/platform-docs-public/issues/7
    """
    known = _OPENAI - {"max_completion_tokens", "seed", "user", "store", "logprobs", "top_logprobs", "logit_bias"}
    unknown = _unknown(asked, known - {"reasoning_effort", "verbosity", "service_tier"})
    if unknown:
        return _validation(["body", unknown], "Extra inputs are not permitted", "extra_forbidden")
    if "developer" in asked.roles:
        return _validation(
            ["body", "messages", 0, "role"], "Input should be 'system', 'user' or 'tool'", "literal_error"
        )
    return (
        _validation(["body", "messages", 0, "content"], "Input tag 'file' is not valid", "tag") if asked.pages else None
    )


def _validation(where: list[Any], said: str, kind: str) -> Refusal:
    return Refusal(422, {"detail": [{"type": kind, "loc": where, "msg": said}]})


VLLM_CONTEXT = 8_192


def vllm(asked: Asked, input_tokens: int) -> Refusal | None:
    """Check prompt + max_tokens strictly, and what the server was started without; the message is at the top.

    https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html,
    https://github.com/vllm-project/vllm/issues/42474
    """
    if input_tokens + (asked.limit or 1) > VLLM_CONTEXT:
        wanted = f"{input_tokens + (asked.limit or 1)} tokens ({input_tokens} in the messages, {asked.limit} to come)"
        return _vllm(f"This model's maximum context length is {VLLM_CONTEXT} tokens. However, you requested {wanted}.")
    if asked.calls_tools:
        return _vllm('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')
    if len(asked.images) > 1:
        return _vllm("At most 1 image(s) may be provided in one request.")
    if "developer" in asked.roles:
        return _vllm("Unexpected message role.")
    return _vllm("Unknown part type: file") if asked.pages else None


def _vllm(message: str) -> Refusal:
    body = {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400}
    return Refusal(400, body)


def ollama(asked: Asked) -> Refusal | None:
    """Refuse tools for a model without them, with a text as the error.

    https://github.com/ollama/ollama/blob/main/docs/api.md
    """
    if asked.body.get("tools"):
        return Refusal(400, {"error": "registry.ollama.ai/library/gemma3:4b does not support tools"})
    return Refusal(400, {"error": "invalid message format"}) if asked.pages else None


def moonshot(asked: Asked) -> Refusal | None:
    """Refuse temperatures above 1, a required tool, and schemas (https://platform.moonshot.ai/docs/api/chat)."""
    if asked.body.get("temperature", 0) > 1:
        return openai_error(400, "invalid temperature: only values in [0, 1] are allowed")
    if asked.body.get("tool_choice") == "required":
        return openai_error(400, "tool_choice 'required' is not supported")
    if asked.format == "json_schema":
        return openai_error(400, "response_format json_schema is not supported by this model")
    return openai_error(400, "unsupported content type: file") if asked.pages else None


_FASTAPI = frozenset({"model", "messages", "stream", "max_tokens", "temperature", "top_p", "stop"})


def fastapi(asked: Asked) -> Refusal | None:
    """Refuse any member that the server's model of a request lacks.

    https://fastapi.tiangolo.com/tutorial/handling-errors
    """
    if unknown := _unknown(asked, _FASTAPI):
        return _validation(["body", unknown], "Extra inputs are not permitted", "extra_forbidden")
    if asked.has_parts:
        return _validation(["body", "messages", 0, "content"], "Input should be a valid string", "string_type")
    return None
