"""What a reply or a chunk of a reply says, however deeply a provider nests it: its text, its error, its cost."""

from __future__ import annotations

import json
import re
from typing import Any

_USAGE = re.compile(rb'"usage"\s*:\s*\{')


def said_in(payload: Any, member: str) -> str:
    """Return the content of choice 0 in a whole reply's `message` or a chunk's `delta`; of a list of parts, their
    texts.
    """
    for choice in choices_of(payload):
        said = choice.get(member) if isinstance(choice, dict) and choice.get("index", 0) == 0 else None
        content = said.get("content") if isinstance(said, dict) else None
        if isinstance(content, list):
            texts = [part.get("text") for part in content if isinstance(part, dict)]
            return "".join([text for text in texts if isinstance(text, str)])
        if isinstance(content, str):
            return content
    return ""


def choices_of(payload: Any) -> list[Any]:
    """Return the choices of a reply or a chunk; none if there is no list of them."""
    choices = payload.get("choices") if isinstance(payload, dict) else None
    return choices if isinstance(choices, list) else []


def says_something(payload: Any) -> bool:
    """Return whether a chunk has words, a tool call, a refusal, reasoning or a finish reason: more than a role."""
    for choice in choices_of(payload):
        if isinstance(choice, dict):
            said = choice.get("delta") or choice.get("message")
            if choice.get("finish_reason") or (isinstance(said, dict) and (said.get("tool_calls") or _length(said))):
                return True
    return False


def error_in(payload: Any) -> Any:
    """Return the error that a chunk or reply carries, or None. OpenRouter puts one into a choice
    (https://openrouter.ai/docs/api-reference/errors).
    """
    if isinstance(payload, dict) and payload.get("error"):
        return payload["error"]
    for choice in choices_of(payload):
        if isinstance(choice, dict) and choice.get("error"):
            return choice["error"]
    return None


def status_in(error: Any) -> int | None:
    """Return the HTTP status, 400 to 599, that an error names as its code; None if it names none."""
    for name in ("code", "status", "status_code"):
        code = error.get(name) if isinstance(error, dict) else None
        if isinstance(code, str) and len(code) == 3 and code.isascii() and code.isdecimal():
            code = int(code)
        if type(code) is int and 400 <= code <= 599:
            return code
    return None


def error_body(error: Any) -> bytes:
    """Return an error as a body in OpenAI's shape: `{"error": ...}`."""
    try:
        return json.dumps({"error": error}).encode()
    except RecursionError:
        return b"{}"


def with_cost(data: bytes, payload: Any, usd: float) -> bytes:
    """Return the JSON text with the cost, in USD, as `usage.cost`; unchanged if it has no usage.

    A cost that the provider itself reports moves to `usage.cost_details.provider_cost`. `payload` is `data`, decoded.
    """
    usage = payload.get("usage") if isinstance(payload, dict) else None
    if not isinstance(usage, dict):
        return data
    if usage and "cost" not in usage:
        place = _USAGE.search(data, max(data.rfind(b'"usage"'), 0)) if data.count(b'"usage"') == 1 else None
        if place is not None:
            return b'%b"cost":%b,%b' % (data[: place.end()], repr(usd).encode(), data[place.end() :])
    priced = {**usage, "cost": usd}
    if usage.get("cost") is not None:
        details = usage.get("cost_details")
        priced["cost_details"] = {**(details if isinstance(details, dict) else {}), "provider_cost": usage["cost"]}
    return json.dumps({**payload, "usage": priced}).encode()


def bytes_said(payload: Any) -> int:
    """Return the UTF-8 bytes of everything in a chunk or reply that was made of output tokens."""
    total = 0
    for choice in choices_of(payload):
        said = choice.get("delta") or choice.get("message") if isinstance(choice, dict) else None
        if isinstance(said, dict):
            total += _length(said)
    return total


def _length(said: dict[str, Any]) -> int:
    total = 0
    left: list[tuple[str, Any]] = [("", said)]
    while left:  # a loop, not a recursion, because the provider decides how deep the nesting is
        key, value = left.pop()
        if isinstance(value, str):
            total += 0 if key in _UNSAID else len(value.encode("utf-8", "surrogatepass"))
        elif isinstance(value, dict):
            left.extend(value.items())
        elif isinstance(value, list):
            left.extend(("", item) for item in value)
    return total


_UNSAID = ("role", "id", "type")
