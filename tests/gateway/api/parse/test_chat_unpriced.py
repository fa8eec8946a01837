"""What a provider charges for apart from tokens is refused by name; what asks for nothing passes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from gateway.api.parse.chat import refuse_charged_apart
from gateway.errors import InvalidRequest


def fields(**members: Any) -> dict[str, Raw]:
    return {name: Raw(msgspec.json.encode(value)) for name, value in members.items()}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("service_tier", "priority"),
        ("service_tier", "scale"),
        ("service_tier", ["auto"]),
        ("web_search_options", {}),
        ("web_search_options", {"search_context_size": "high"}),
        ("plugins", [{"id": "web"}]),
        ("models", ["anthropic/claude-opus-4"]),
        ("modalities", ["text", "audio"]),
        ("modalities", ["image"]),
    ],
)
def test_what_is_charged_apart_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=name) as refusal:
        refuse_charged_apart(fields(model="auto", **{name: value}))
    assert refusal.value.param == name


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"service_tier": None},
        {"service_tier": "auto"},
        {"service_tier": "flex"},
        {"web_search_options": None},
        {"plugins": []},
        {"models": []},
        {"modalities": ["text"]},
        {"temperature": 0.5, "reasoning_effort": "high", "anything": {"else": 1}},
    ],
)
def test_what_asks_for_nothing_more_passes(members: dict[str, Any]) -> None:
    refuse_charged_apart(fields(model="auto", **members))
