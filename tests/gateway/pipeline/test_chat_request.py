"""The body that a candidate is sent: what the client wrote, but for the model, the limit and the asking for usage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pipeline.chat_request import (
    ChatRequest,
    FetchedBytes,
    RemoteImage,
    body_for,
    dropped_members,
    inline_image,
    limit_to_send,
)
from gateway.routing.capabilities import ASSUMED
from gateway.routing.query import Query
from tests.gateway.billing.makers import candidate

MESSAGES = b'[ {"role":"user",  "content":"\\u00e4 \xc3\xa4 1.50"} ]'


def request(fields: Mapping[str, bytes], *, streamed: bool = False) -> ChatRequest:
    return ChatRequest(
        model="auto",
        fields={name: memoryview(value) for name, value in fields.items()},
        query=Query("", 1, 1),
        images=(),
        remote=(),
        streamed=streamed,
        wants_usage=False,
        cap=None,
        quality_weight=None,
        allowed=None,
    )


def sent(fields: Mapping[str, bytes], parameter: str = "max_tokens", *, streamed: bool = False) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(
        body_for(request({"model": b'"auto"', **fields}, streamed=streamed), "real", parameter, 77)
    )
    return body


def test_what_a_candidate_does_not_take_is_left_out_and_named() -> None:
    taker = candidate("a", capabilities=ASSUMED.declared({"temperature": False, "logprobs": False, "n": False}))
    asked = request({"messages": MESSAGES, "temperature": b"0.70", "logprobs": b"false", "n": b"1", "seed": b"7"})
    body = json.loads(body_for(asked, "m", "max_tokens", 5, drops=taker.drops))
    assert set(body) == {"messages", "model", "seed", "max_tokens"}
    assert dropped_members(asked, taker) == ["temperature"]
    assert dropped_members(request({"messages": MESSAGES, "seed": b"7"}), taker) == []


@pytest.mark.parametrize("nothing", [b"null", b" false ", b"[ ]", b"{}", b'""'])
def test_a_member_that_asks_for_nothing_is_not_named(nothing: bytes) -> None:
    taker = candidate("a", calls_tools=False)
    assert dropped_members(request({"tools": nothing}), taker) == []
    assert dropped_members(request({"tools": b"[{}]", "tool_choice": b'"none"'}), taker) == ["tools", "tool_choice"]


def test_a_developer_becomes_a_system_message_only_where_the_role_is_unknown() -> None:
    said = rb'[{"role" : "developer","content":"1.50 \"role\": \"developer\""},{"content":"\u00e4","role":"user"}]'
    asked = request({"messages": said})._replace(has_developer=True)
    assert said in body_for(asked, "m", "max_tokens", 5)
    changed = body_for(asked, "m", "max_tokens", 5, knows_developer=False)
    assert said.replace(b'"developer",', b'"system",') in changed


def test_members_stand_byte_for_byte_as_the_client_wrote_them() -> None:
    odd = b'{ "b" : 1.0e+2,"a":[1 ,2 , 1E400] }'
    body = body_for(
        request({"messages": MESSAGES, "model": b'"auto"', "temperature": b"0.70", "x": odd}), "m", "max_tokens", 5
    )
    assert body == (b'{"messages":' + MESSAGES + b',"model":"m","temperature":0.70,"x":' + odd + b',"max_tokens":5}')


@given(
    st.dictionaries(
        st.text(min_size=1).filter(
            lambda k: k not in ("model", "max_tokens", "max_completion_tokens", "stream_options")
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_every_other_member_arrives_unchanged(members: dict[str, Any], streamed: bool) -> None:
    fields = {name: json.dumps(value).encode() for name, value in members.items()}
    body = sent(fields, streamed=streamed)
    assert body.pop("model") == "real"
    assert body.pop("max_tokens") == 77
    assert body.pop("stream_options", None) == ({"include_usage": True} if streamed else None)
    assert body == members


@pytest.mark.parametrize("parameter", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    "given_limits",
    [
        {},
        {"max_tokens": b"500"},
        {"max_completion_tokens": b"500"},
        {"max_tokens": b"400", "max_completion_tokens": b"500"},
        {"max_tokens": b"null"},
    ],
)
def test_limit_stands_once_under_the_name_that_the_candidate_knows(
    parameter: str, given_limits: dict[str, bytes]
) -> None:
    body = sent(given_limits, parameter)
    limits = {name: body[name] for name in ("max_tokens", "max_completion_tokens") if name in body}
    assert limits == {parameter: 77}


def test_usage_is_asked_for_beside_the_clients_own_stream_options() -> None:
    options = b'{"include_obfuscation": false, "include_usage": false}'
    body = sent({"stream": b"true", "stream_options": options}, streamed=True)
    assert body["stream_options"] == {"include_obfuscation": False, "include_usage": True}


def test_null_stream_options_ask_for_usage() -> None:
    assert sent({"stream_options": b"null"}, streamed=True)["stream_options"] == {"include_usage": True}


def test_a_whole_reply_is_asked_for_without_stream_options() -> None:
    assert "stream_options" not in sent({})


def test_models_name_is_written_as_json() -> None:
    body = body_for(request({"model": b'"auto"'}), 'a"b/\u00e9', "max_tokens", 1)
    assert json.loads(body)["model"] == 'a"b/\u00e9'


def test_an_inline_image_is_known_by_its_content_and_decoded_when_read() -> None:
    first, priced = inline_image(b"aGVsbG8=", 3, 4, "low")
    again, _ = inline_image(memoryview(b"aGVsbG8="), 3, 4, "high")
    other, _ = inline_image(b"aGVsbG8h", 3, 4, "low")
    assert first.key == again.key == priced.key != other.key
    assert first.read() == again.read() == b"hello"
    assert (priced.width, priced.height, priced.detail) == (3, 4, "low")


def test_a_fetched_image_is_its_bytes() -> None:
    assert FetchedBytes(b"png", b"key").read() == b"png"


def test_a_remote_image_names_its_place() -> None:
    image = RemoteImage("https://example.com/a.png", "auto", message=2, part=1, encoded=True)
    assert image.param == "messages[2].content[1].image_url.url"


@pytest.mark.parametrize(
    ("declared", "asked", "limit", "sent"),
    [
        (True, None, 4_096, None),
        (True, None, 4_095, 4_095),
        (True, 4_096, 4_096, 4_096),
        (True, 9_000, 4_096, 4_096),
        (False, None, 4_096, 4_096),
    ],
)
def test_a_limit_is_sent_only_where_it_changes_something(
    declared: bool, asked: int | None, limit: int, sent: int | None
) -> None:
    taker = replace(candidate("a"), limits_itself=declared)
    wanted = request({"model": b'"auto"'})
    wanted = wanted._replace(query=wanted.query._replace(max_output_tokens=asked))
    assert limit_to_send(wanted, taker, limit) == sent
    assert limit_to_send(wanted._replace(cap=10**9), taker, limit) == limit, "under a cap nothing else bounds the bill"


def test_a_provider_may_be_spared_the_limit_and_the_stream_options() -> None:
    asked = request({"model": b'"auto"', "max_tokens": b"5", "stream_options": b"{}"}, streamed=True)
    body = json.loads(body_for(asked, "m", None, 5, reports_usage=False))
    assert body.keys() == {"model"}
    assert json.loads(body_for(asked, "m", "max_tokens", None)).keys() == {"model", "max_tokens", "stream_options"}
