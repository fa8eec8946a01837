"""What refusals of different providers blame, in whose words, and when to ask again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.refusal import read_refusal, without_secrets


def openai(message: str, code: str | None = None, kind: str = "invalid_request_error", param: str | None = None) -> Any:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def gemini(code: int, message: str, status: str, *details: dict[str, str]) -> Any:
    return [{"error": {"code": code, "message": message, "status": status, "details": list(details)}}]


def openrouter(code: int, raw: object, provider: str = "Some") -> Any:
    text = raw if isinstance(raw, str) else json.dumps(raw)
    error = {"message": "Provider returned error", "code": code, "metadata": {"raw": text, "provider_name": provider}}
    return {"error": error, "user_id": "u"}


CONTEXT = {
    "anthropic tier": (429, openai("Extra usage is required for long context requests.", None, "rate_limit_error")),
    "openai": (
        400,
        openai(
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.",
            "context_length_exceeded",
            param="messages",
        ),
    ),
    "openai responses": (
        400,
        openai("Your input exceeds the context window of this model. Please adjust your input and try again."),
    ),
    "anthropic": (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "prompt is too long: 208310 tokens > 200000 maximum"},
        },
    ),
    "anthropic sum": (
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            },
        },
    ),
    "gemini": (
        400,
        gemini(
            400,
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            "INVALID_ARGUMENT",
        ),
    ),
    "vllm": (
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 8192 tokens. You requested 8829 tokens (4862 in "
            "the messages, 3967 in the completion). Please reduce the length of the messages or completion.",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    ),
    "vllm max_tokens": (
        400,
        openai(
            "'max_tokens' or 'max_completion_tokens' is too large: 16384. This model's maximum context length is 8192 "
            "tokens and your request has 100 input tokens.",
            "400",
            "BadRequestError",
        ),
    ),
    "llama.cpp": (
        400,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size, try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 9000,
                "n_ctx": 4096,
            }
        },
    ),
    "mistral": (
        400,
        {
            "object": "error",
            "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for its 32768 maximum context "
            "length",
            "type": "invalid_request_error",
            "param": None,
            "code": "3051",
        },
    ),
    "openrouter": (
        400,
        openrouter(400, openai("This endpoint's maximum context length is 8192 tokens.", "context_length_exceeded")),
    ),
    "groq": (
        400,
        openai("Please reduce the length of the messages or completion.", "context_length_exceeded", param="messages"),
    ),
    "a server that answers 500": (500, openai("Requested tokens exceed context window of 4096")),
}
CONTENT = {
    "deepseek": (400, openai("Content Exists Risk")),
    "azure": (
        400,
        {
            "error": {
                "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management "
                "policy.",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
            }
        },
    ),
    "openai images": (
        400,
        openai("Your request was rejected as a result of our safety system.", "content_policy_violation"),
    ),
    "openrouter": (
        403,
        {"error": {"code": 403, "message": "Your chosen model requires moderation and your input was flagged"}},
    ),
    "alibaba": (
        400,
        openai("Input data may contain inappropriate content.", "data_inspection_failed", "data_inspection_failed"),
    ),
}
UNSUPPORTED = {
    "openai parameter": (
        400,
        openai(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use another.",
            "unsupported_parameter",
            param="max_tokens",
        ),
    ),
    "openai value": (
        400,
        openai(
            "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is "
            "supported.",
            "unsupported_value",
            param="temperature",
        ),
    ),
    "openai unknown": (400, openai("Unrecognized request argument supplied: stream_options")),
    "openai limit": (
        400,
        openai(
            "max_tokens is too large: 20000. This model supports at most 16384 completion tokens, whereas you provided "
            "20000.",
            "invalid_value",
            param="max_tokens",
        ),
    ),
    "openai logprobs": (403, openai("You are not allowed to request logprobs from this model")),
    "groq": (
        400,
        openai(
            "'messages.0' : for 'role:user' the following must be satisfied[('messages.0.content' : "
            "value must be a string)] OR this model does not support image input"
        ),
    ),
    "fastapi": (
        422,
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "logprobs"], "msg": "Extra inputs are not permitted"}]},
    ),
    "mistral": (
        422,
        {
            "object": "error",
            "message": {
                "detail": [
                    {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}
                ]
            },
            "type": "invalid_request_error",
        },
    ),
    "ollama": (400, {"error": "registry.ollama.ai/library/gemma:2b does not support tools"}),
    "gemini": (
        400,
        gemini(
            400,
            'Invalid JSON payload received. Unknown name "seed": Cannot find field.',
            "INVALID_ARGUMENT",
        ),
    ),
    "openrouter 404": (404, {"error": {"message": "No endpoints found that support image input", "code": 404}}),
    "vllm multimodal": (
        400,
        openai("At most 1 image(s) may be provided in one request... the model is not a multimodal model"),
    ),
}
ACCOUNT = {
    "anthropic limit": (
        400,
        openai("You have reached your specified API usage limits. You will regain access on 1 May."),
    ),
    "anthropic disabled": (400, openai("This organization has been disabled.")),
    "groq restricted": (400, openai("Organization has been restricted.", "organization_restricted")),
    "gemini model": (
        404,
        gemini(
            404, "models/x is not found for API version v1beta, or is not supported for generateContent.", "NOT_FOUND"
        ),
    ),
    "moonshot": (
        429,
        openai("Your account org-1 is suspended, please check your plan", None, "exceeded_current_quota_error"),
    ),
    "openai hard limit": (429, openai("Billing hard limit has been reached", "billing_hard_limit_reached")),
    "openai key": (401, openai("Incorrect API key provided: sk-proj-abcdefghijklmnopqrstuv.", "invalid_api_key")),
    "openai quota": (
        429,
        openai(
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            "insufficient_quota",
        ),
    ),
    "openai model": (
        404,
        openai("The model `gpt-9` does not exist or you do not have access to it.", "model_not_found"),
    ),
    "azure": (404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}),
    "anthropic credit": (
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
            },
        },
    ),
    "gemini key": (
        400,
        gemini(
            400,
            "API key not valid. Please pass a valid API key.",
            "INVALID_ARGUMENT",
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"},
        ),
    ),
    "gemini place": (
        400,
        gemini(400, "User location is not supported for the API use.", "FAILED_PRECONDITION"),
    ),
    "openrouter credit": (402, {"error": {"code": 402, "message": "Insufficient credits. Add more."}}),
    "groq gone": (
        400,
        openai("The model `llama2-70b` has been decommissioned and is no longer supported.", "model_decommissioned"),
    ),
    "ollama": (404, {"error": 'model "llava:99b" not found, try pulling it first'}),
    "deepseek": (402, openai("Insufficient Balance", "invalid_request_error", "unknown_error")),
    "moved": (307, ""),
    "wrong path": (404, {"detail": "Not Found"}),
}
RATE = {
    "openai": (
        429,
        openai(
            "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000. Please try "
            "again in 7.66s.",
            "rate_limit_exceeded",
            "tokens",
        ),
    ),
    "gemini": (
        429,
        gemini(
            429,
            "You exceeded your current quota, please check your plan and billing details. Please retry in 27.5s.",
            "RESOURCE_EXHAUSTED",
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "27s"},
        ),
    ),
    "anthropic": (
        429,
        {"type": "error", "error": {"type": "rate_limit_error", "message": "Number of request tokens has exceeded"}},
    ),
    "plain": (429, "slow down"),
}
TOO_LARGE = {
    "anthropic image": (400, openai("messages.0: image exceeds 5 MB maximum: 6291456 bytes > 5242880 bytes")),
    "openai": (
        429,
        openai(
            "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 55226.",
            "rate_limit_exceeded",
            "tokens",
        ),
    ),
    "groq": (
        413,
        openai(
            "Request too large for model `llama` on tokens per minute (TPM): Limit 6000, Requested 16400",
            "rate_limit_exceeded",
            "tokens",
        ),
    ),
    "nginx": (413, "<html><head><title>413 Request Entity Too Large</title></head><body></body></html>"),
    "anthropic": (413, {"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the max"}}),
}
OVERLOADED = {
    "moonshot": (429, openai("The engine is currently overloaded", None, "engine_overloaded_error")),
    "anthropic": (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    "cloudflare": (502, "<html><head><title>502 Bad Gateway</title></head></html>"),
    "openai": (500, openai("The server had an error while processing your request.", None, "server_error")),
    "nothing": (503, ""),
}
INVALID = {
    "a firewall": (403, "<html><head><title>Attention Required! | Cloudflare</title></head></html>"),
    "openai": (400, openai("Invalid 'messages[0].content': string expected.", "invalid_type", param="messages[0]")),
    "nothing": (400, ""),
    "not an object": (400, [1, 2]),
}
TABLE = {
    "context_length": CONTEXT,
    "content_filter": CONTENT,
    "unsupported": UNSUPPORTED,
    "account": ACCOUNT,
    "rate_limit": RATE,
    "too_large": TOO_LARGE,
    "overloaded": OVERLOADED,
    "invalid": INVALID,
}
CASES = [
    pytest.param(fault, status, body, id=f"{fault}-{name}")
    for fault, cases in TABLE.items()
    for name, (status, body) in cases.items()
]


def encoded(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


@pytest.mark.parametrize(("fault", "status", "body"), CASES)
def test_a_refusal_is_read_by_its_words(fault: str, status: int, body: Any) -> None:
    assert read_refusal(status, encoded(body), {}).fault == fault


ECHOED = (
    "Your credit balance is too low",
    "API key not valid",
    "the model gpt-4o does not exist",
    "insufficient_quota billing account deactivated",
    "invalid_api_key",
)


@pytest.mark.parametrize("echo", ECHOED)
@pytest.mark.parametrize(
    "around",
    [
        "Invalid 'tools[0].function.name': '{}' does not match the pattern",
        "Unsupported value: '{}' is not a valid role",
        "Invalid schema for response_format {}: additionalProperties is missing",
        "{} is not of type 'string'",
        "1 validation error: body.user {}",
    ],
)
@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_a_client_wrote_cannot_blame_the_account(echo: str, around: str, status: int) -> None:
    if around.startswith("{}"):
        around = "'" + around.replace("{}", "{}'")
    assert read_refusal(status, encoded(openai(around.format(echo))), {}).fault != "account"


def test_what_a_client_wishes_of_a_router_is_its_own_fault() -> None:
    for said in (
        "No allowed providers are available for the selected model.",
        "No endpoints found matching your data policy",
    ):
        assert read_refusal(404, encoded({"error": {"message": said, "code": 404}}), {}).fault == "unsupported"
    afford = "This request requires more credits, or fewer max_tokens. You requested 65536, but can only afford 100."
    assert read_refusal(402, encoded({"error": {"message": afford, "code": 402}}), {}).fault == "too_large"


@pytest.mark.parametrize(
    ("body", "said", "code", "param"),
    [
        (
            openai("too long", "context_length_exceeded", param="messages"),
            "too long",
            "context_length_exceeded",
            "messages",
        ),
        (gemini(400, "bad", "INVALID_ARGUMENT"), "bad", None, None),
        (openrouter(400, openai("upstream says", "its_code")), "upstream says", "its_code", None),
        (openrouter(400, "plain words of the upstream"), "plain words of the upstream", None, None),
        (openrouter(400, [{"error": {"message": "an array within"}}]), "an array within", None, None),
        (
            {"object": "error", "message": "vllm", "code": 400, "type": "BadRequestError"},
            "vllm",
            "BadRequestError",
            None,
        ),
        ({"detail": "a text"}, "a text", None, None),
        (
            {"detail": [{"loc": ["body", "x"], "msg": "no"}, {"loc": ["y"], "msg": "nor"}]},
            "body.x: no; y: nor",
            None,
            None,
        ),
        ({"error": "ollama's"}, "ollama's", None, None),
        ({"error": '{"error": {"message": "twice wrapped"}}'}, "twice wrapped", None, None),
        ({"message": '{"message": "wrapped"}'}, "wrapped", None, None),
        ("<html><head><title>502 Bad\nGateway</title></head><body>x</body></html>", "502 Bad Gateway", None, None),
        ("plain words", "plain words", None, None),
        ("", "", None, None),
        ({"error": None}, "", None, None),
        ({"error": {}}, "", None, None),
    ],
)
def test_the_message_is_found_wherever_it_stands(body: Any, said: str, code: str | None, param: str | None) -> None:
    found = read_refusal(400, encoded(body), {})
    if body != "" and "invalid_request_error" in json.dumps(body) and code is None:
        code = "invalid_request_error"
    assert (found.said, found.code, found.param) == (said, code, param)


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({b"retry-after": b"27"}, "", 27),
        ({b"retry-after": b"0.5"}, "", 0.5),
        ({b"retry-after-ms": b"1500", b"retry-after": b"2"}, "", 1.5),
        ({b"retry-after": b"Thu, 01 Jan 1970 00:18:20 GMT"}, "", 100),
        ({b"retry-after": b"Thu, 01 Jan 1970 00:00:00 GMT"}, "", 0),
        ({b"retry-after": b"soon"}, "", None),
        ({b"retry-after": b"-5"}, "", None),
        ({b"retry-after": b"nan"}, "", None),
        ({b"retry-after": b"1e9"}, "", 86_400),
        ({}, "Please try again in 7.66s.", 7.66),
        ({}, "Please try again in 1m2.5s.", 62.5),
        ({}, "Please try again in 1h2m3s", 3723),
        ({}, "Please try again in 20ms.", 0.02),
        ({}, "retry after 12 seconds", 12),
        ({}, "Please retry in 500 milliseconds.", 0.5),
        ({}, "try again in 1 minute", 60),
        ({}, "try again in 2 hours, 3 minutes", 7_380),
        ({}, "try again in 1.5min", 90),
        ({}, "Please try again later.", None),
        ({}, "no word of it", None),
    ],
)
def test_the_wait_is_read_from_headers_or_words(
    headers: dict[bytes, bytes], message: str, seconds: float | None
) -> None:
    found = read_refusal(429, encoded(openai(message)), headers, clock=lambda: 1_000.0)
    assert found.retry_after_s == (None if seconds is None else pytest.approx(seconds))


def test_geminis_delay_is_read() -> None:
    body = gemini(429, "x", "RESOURCE_EXHAUSTED", {"reason": "q"}, {"retryDelay": "27s"})
    assert read_refusal(429, encoded(body), {}).retry_after_s == 27


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcDEF123456789xyz",
        "gsk_abcdefghijklmnop",
        "AIzaSyA1234567890abcdefg",
        "Bearer abcdef.ghijkl",
        "xai-0123456789ab",
    ],
)
def test_a_key_in_a_message_is_not_repeated(secret: str) -> None:
    found = read_refusal(401, encoded(openai(f"Incorrect API key provided: {secret}. Find yours at https://x.y")), {})
    assert secret not in found.said and "Incorrect API key provided" in found.said


def test_neither_the_operators_own_key_nor_an_image_is_repeated() -> None:
    image = "iVBORw0KGgo" * 20
    found = read_refusal(400, encoded(openai(f"my-odd-key sent {image}")), {}, secrets=("my-odd-key", ""))
    assert found.said == "[key] sent [data]"
    url = read_refusal(500, b"I was sent data:image/png;base64,iVBORw0KGgo= by x", {})
    assert url.said == "I was sent [data] by x"
    assert without_secrets("an ordinary sentence about context_length_exceeded") == (
        "an ordinary sentence about context_length_exceeded"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(("error", "message", "detail", "metadata", "raw", "code", "details", "innererror", "x")),
            inner,
        )
    ),
)


@given(st.integers(300, 599), JSON)
def test_any_answer_is_read(status: int, payload: Any) -> None:
    found = read_refusal(status, json.dumps(payload).encode(), {})
    assert len(found.said) <= 1_000


@given(st.binary(max_size=200))
def test_any_bytes_are_read(body: bytes) -> None:
    assert read_refusal(400, body, {b"retry-after": body}).fault


def test_a_deep_answer_ends() -> None:
    body: Any = "end"
    for _ in range(50):
        body = {"error": body}
    read_refusal(400, encoded(body), {})
    read_refusal(400, b'{"error":' * 100_000, {})


@pytest.mark.parametrize(
    "body", [b"<" * 65_536, b"<title" * 10_000, b"{" * 65_536, b"try again in " * 5_000, b"9" * 65_536]
)
def test_a_long_odd_answer_is_read_in_one_look(body: bytes) -> None:
    assert len(read_refusal(400, body, {}).said) <= 1_000
    assert read_refusal(429, encoded(openai("try again in " + body.decode()[:60_000])), {}).fault


def test_a_key_is_hidden_wherever_the_words_are_cut() -> None:
    for before in range(180, 205):
        page = b"x" * before + b" odd0key0odd0key0 y"
        assert "odd0" not in read_refusal(400, page, {}, secrets=("odd0key0odd0key0",)).said
    body = encoded({"error": {"message": "m", "code": "odd0key0odd0key0", "param": "odd0key0odd0key0"}})
    found = read_refusal(400, body, {}, secrets=("odd0key0odd0key0",))
    assert (found.code, found.param) == ("[key]", "[key]")
