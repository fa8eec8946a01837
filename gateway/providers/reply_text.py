"""The text in a reply or in a chunk of a reply, however deeply a provider nests it."""

from __future__ import annotations

from typing import Any


def said_in(payload: Any, member: str) -> str:
    """Return the content of choice 0 in a whole reply's `message` or a chunk's `delta`; of a list of parts, their
    texts.
    """
    choices = payload.get("choices") if isinstance(payload, dict) else None
    for choice in choices if isinstance(choices, list) else ():
        said = choice.get(member) if isinstance(choice, dict) and choice.get("index", 0) == 0 else None
        content = said.get("content") if isinstance(said, dict) else None
        if isinstance(content, list):
            texts = [part.get("text") for part in content if isinstance(part, dict)]
            return "".join([text for text in texts if isinstance(text, str)])
        if isinstance(content, str):
            return content
    return ""


def bytes_said(payload: Any) -> int:
    """Return the UTF-8 bytes of everything in a chunk or reply that was made of output tokens."""
    choices = payload.get("choices") if isinstance(payload, dict) else None
    total = 0
    for choice in choices if isinstance(choices, list) else ():
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
