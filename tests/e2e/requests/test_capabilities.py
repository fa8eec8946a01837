"""Requests that not every candidate can take: who is asked, what it is sent, and what the client is told."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness.scripted_provider import ScriptedProvider
from tests.e2e.harness.site import Site, serving_gateway, settings_for
from tests.gateway.images.files import pdf_of, wav

HI: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
PLAIN = {
    **dict.fromkeys(("images", "tools", "json_schema", "logprobs", "n", "stop", "temperature", "seed"), False),
    "developer_role": False,
}


@pytest.fixture
def site(tmp_path: Path, provider: ScriptedProvider) -> Iterator[Site]:
    """`plain` can do little and is the cheapest; `able` takes files and sound, too."""
    candidates = [
        {"name": "plain", "input_usd_per_mtok": 0.1, "output_usd_per_mtok": 0.4, "capabilities": PLAIN},
        {
            "name": "able",
            "input_usd_per_mtok": 2.5,
            "output_usd_per_mtok": 10,
            "capabilities": {"pdf": True, "audio": True},
        },
    ]
    changes = {"candidates": [{"provider": "pool", **candidate} for candidate in candidates]}
    with serving_gateway(settings_for(tmp_path, provider.url, **changes), tmp_path) as served:
        yield served


def part(kind: str, **members: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": "what?"}, {"type": kind, kind: members}]}]


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


PDF = part("file", filename="a.pdf", file_data="data:application/pdf;base64," + encoded(pdf_of(2) + bytes(60_000)))
SOUND = part("input_audio", format="wav", data=encoded(wav(10)))
HISTORY = [
    *HI,
    {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f"}}]},
    {"role": "tool", "tool_call_id": "a", "content": "42"},
]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"messages": PDF}, "reads_no_pdf"),
        ({"messages": SOUND}, "hears_no_audio"),
        ({"messages": HISTORY}, "calls_no_tools"),
        ({"messages": HI, "tools": [TOOL]}, "calls_no_tools"),
        ({"messages": HI, "response_format": {"type": "json_schema", "json_schema": {"name": "s"}}}, "json_schema"),
        ({"messages": HI, "logprobs": True}, "gives_no_logprobs"),
        ({"messages": HI, "n": 2}, "gives_one_choice_only"),
        ({"messages": HI, "stop": ["x"]}, "takes_no_stop"),
    ],
)
def test_a_candidate_that_lacks_what_is_needed_is_not_asked(
    site: Site, provider: ScriptedProvider, body: dict[str, Any], reason: str
) -> None:
    routed = site.chat({"model": "auto", "max_tokens": 100, **body}, **{"X-Budget": "0.05", "X-Quality-Weight": "0"})
    assert (routed.status, routed.headers["x-route-candidate"]) == (200, "able")
    pinned = site.chat({"model": "plain", **body})
    assert pinned.status == 400
    assert reason in pinned.error["message"]
    assert [call.model for call in provider.calls] == ["able"]


def test_what_only_tunes_is_not_sent_and_named(site: Site, provider: ScriptedProvider) -> None:
    body = {"messages": HI, "temperature": 0.2, "top_p": 0.9, "seed": 7, "n": 1, "stop": None}
    for model in ("auto", "plain"):
        answer = site.chat({"model": model, **body}, **{"X-Quality-Weight": "0"})
        assert (answer.status, answer.headers["x-route-candidate"]) == (200, "plain")
        assert answer.headers["x-route-dropped"] == "temperature,seed"
        sent = provider.calls[-1].json
        assert sent["top_p"] == 0.9
        assert {"temperature", "seed", "n", "stop"}.isdisjoint(sent)
    able = site.chat({"model": "able", **body})
    assert "x-route-dropped" not in able.headers
    assert provider.calls[-1].json["seed"] == 7


@pytest.mark.parametrize("tools", [{"tools": []}, {"tools": [TOOL], "tool_choice": "none"}])
def test_tools_that_may_not_be_called_do_not_need_a_candidate_that_calls_tools(
    site: Site, provider: ScriptedProvider, tools: dict[str, Any]
) -> None:
    answer = site.chat({"model": "plain", "messages": HI, **tools})
    assert answer.status == 200
    assert {"tools", "tool_choice"}.isdisjoint(provider.calls[-1].json)


def test_a_developer_message_is_a_system_message_where_the_role_is_unknown(
    site: Site, provider: ScriptedProvider
) -> None:
    messages = [{"role": "developer", "content": "be short"}, *HI]
    for model, role in (("plain", "system"), ("able", "developer")):
        assert site.chat({"model": model, "messages": messages}).status == 200
        assert [message["role"] for message in provider.calls[-1].json["messages"]] == [role, "user"]


@pytest.mark.parametrize("kind", ["video_url", "input_image", "document", "hologram"])
def test_a_part_whose_cost_cannot_be_known_is_refused_before_anybody_is_asked(
    site: Site, provider: ScriptedProvider, kind: str
) -> None:
    answer = site.chat({"model": "auto", "messages": part(kind, url="https://example.com/x")})
    assert (answer.status, answer.error["code"]) == (400, "unsupported_content_part")
    assert answer.error["param"] == "messages[0].content[1].type"
    assert repr(kind) in answer.error["message"]
    assert provider.calls == []
