"""Whole replies: the candidate's name goes in, everything else stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.billing.usage import Usage
from gateway.errors import ProviderError
from gateway.providers.whole_reply import BrokenReply, partial_output_tokens, read_whole
from tests.gateway.providers.harness.streams import TRICKY

CANDIDATE = 'acme/vision "two"'
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("model"), inner, max_size=3),
    max_leaves=6,
)


def reply(content: Any = "Hello", **members: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return {"id": "c", "object": "chat.completion", "choices": choices, **members}


def encoded(payload: Any, *, ascii_only: bool = True) -> bytes:
    return json.dumps(payload, ensure_ascii=ascii_only).encode()


def test_name_is_put_in_and_nothing_else_moves() -> None:
    before = b'{ "id":"c" , "choices":[ {"message":{"content":"a\\u0041"}} ],\n "model" :  "served" , "x":1.50}\n'
    found = read_whole(before, "mine")
    assert found.body == before.replace(b'"model" :  "served"', b'"model":"mine"')


@pytest.mark.parametrize("ascii_only", [True, False])
def test_text_that_looks_like_members_is_untouched(ascii_only: bool) -> None:
    before = reply(TRICKY, model="served")
    after = json.loads(read_whole(encoded(before, ascii_only=ascii_only), CANDIDATE).body)
    assert after == {**before, "model": CANDIDATE}


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=4), st.text(), st.booleans())
def test_only_the_replys_own_name_changes(extra: dict[str, Any], served: str, late: bool) -> None:
    members = (
        {**extra, "model": served} if late else {"model": served, **{k: v for k, v in extra.items() if k != "model"}}
    )
    before = {**{k: v for k, v in members.items() if k != "choices"}, "choices": [{}]}
    after = json.loads(read_whole(encoded(before), CANDIDATE).body)
    assert after == {**before, "model": CANDIDATE}


@pytest.mark.parametrize("model", [None, 5, ["served"], {"model": "served"}])
def test_name_that_is_no_text_is_replaced(model: Any) -> None:
    assert json.loads(read_whole(encoded(reply(model=model)), "mine").body) == reply(model="mine")


def test_name_that_is_missing_is_added() -> None:
    assert json.loads(read_whole(encoded(reply()), "mine").body) == reply(model="mine")


def test_a_model_inside_another_member_is_left_alone() -> None:
    before = {"route": {"model": "served"}, **reply(model="served")}
    assert json.loads(read_whole(encoded(before), "mine").body) == {**before, "model": "mine"}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 0}, Usage(5, 0)),
        ({"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}, Usage(5, 3)),
        (None, None),
        ([], None),
        ("many", None),
        ({}, None),
        ({"prompt_tokens": 5}, None),
        ({"prompt_tokens": True, "completion_tokens": 1}, None),
        ({"prompt_tokens": 5.0, "completion_tokens": 1}, Usage(5, 1)),
        ({"prompt_tokens": "5", "completion_tokens": 1}, Usage(5, 1)),
        ({"prompt_tokens": -5, "completion_tokens": 1}, None),
        ({"prompt_tokens": 10**30, "completion_tokens": 1}, None),
    ],
)
def test_usage_is_two_counts_or_none(usage: Any, expected: Usage | None) -> None:
    assert read_whole(encoded(reply(model="m", usage=usage)), "m").usage == expected


@pytest.mark.parametrize("content", ["a" * 37, "\u00e4" * 20, [{"type": "text", "text": "a" * 40}], "\ud800" * 13])
def test_our_own_count_is_four_bytes_a_token(content: Any) -> None:
    assert read_whole(encoded(reply(content, model="m")), "m").output_tokens == 10


def test_our_own_count_takes_every_choice_and_tool_call() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f" * 4, "arguments": "a" * 16}}
    choices = [
        {"message": {"role": "assistant", "content": "a" * 20}},
        {"message": {"role": "assistant", "content": None, "tool_calls": [call]}},
    ]
    assert read_whole(encoded({"model": "m", "choices": choices}), "m").output_tokens == 10


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","choices":[',
        b'{"model":"\xff","choices":[{}]}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"id":"c","obj',
    ],
)
def test_a_reply_that_broke_off_is_broken(body: bytes) -> None:
    with pytest.raises(BrokenReply):
        read_whole(body, "mine")


@pytest.mark.parametrize(
    ("body", "reason", "status"),
    [
        (b"", "empty_reply", None),
        (b" \n", "empty_reply", None),
        (b'{"model":"m","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":0}}', "empty_reply", None),
        (b"null", "error_body", None),
        (b"[]", "error_body", None),
        (b'"text"', "error_body", None),
        (b"upstream timed out", "error_body", None),
        (b"<html>502</html>", "error_body", None),
        (b'{"error":{"message":"overloaded"}}', "error_body", None),
        (b'{"error":{"message":"overloaded","code":503}}', "error_body", 503),
        (b'{"error":{"message":"overloaded","code":"429"},"choices":[]}', "error_body", 429),
        (b'{"error":{"message":"overloaded","code":"rate_limited","status":200}}', "error_body", None),
        (b'{"error":"overloaded"}', "error_body", None),
        (b'{"error":{"message":"overl', "error_body", None),
        (b'[{"error":{"message":"overloaded"}}]', "error_body", None),
        (b'{"detail":"not found"}', "error_body", None),
        (b'{"message":"overloaded","code":529}', "error_body", 529),
        (b'{"model":"m"}', "error_body", None),
        (b'{"model":"m","choices":null}', "error_body", None),
    ],
)
def test_what_is_no_reply_is_the_providers_error(body: bytes, reason: str, status: int | None) -> None:
    with pytest.raises(ProviderError) as caught:
        read_whole(body, "mine")
    assert (caught.value.reason, caught.value.status, caught.value.body) == (reason, status, body)
    assert caught.value.fault is not None or reason == "empty_reply"


def test_an_error_in_a_choice_is_the_providers_error() -> None:
    error = {"code": 502, "message": "Provider disconnected"}
    choices = [{"index": 0, "message": {"content": "part"}, "finish_reason": "error", "error": error}]
    with pytest.raises(ProviderError) as caught:
        read_whole(encoded({"model": "m", "choices": choices}), "mine")
    assert (caught.value.reason, caught.value.status) == ("error_body", 502)
    assert json.loads(caught.value.body) == {"error": error}


def test_an_error_beside_words_is_a_reply() -> None:
    assert read_whole(encoded(reply(model="m", error={"message": "logging failed"})), "m").said() == "Hello"


@given(st.binary(max_size=100) | JSON_VALUES.map(encoded))
def test_any_bytes_are_read_or_broken(body: bytes) -> None:
    try:
        found = read_whole(body, CANDIDATE)
    except (BrokenReply, ProviderError):
        return
    assert json.loads(found.body)["model"] == CANDIDATE


PLAIN_USAGE = {"prompt_tokens": 5, "completion_tokens": 1}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (PLAIN_USAGE, {**PLAIN_USAGE, "cost": 0.00125}),
        ({}, {"cost": 0.00125}),
        ({**PLAIN_USAGE, "cost": None}, {**PLAIN_USAGE, "cost": 0.00125}),
        ({**PLAIN_USAGE, "cost": 7}, {**PLAIN_USAGE, "cost": 0.00125, "cost_details": {"provider_cost": 7}}),
        (
            {"cost": 7, "cost_details": {"upstream_inference_cost": 6}},
            {"cost": 0.00125, "cost_details": {"upstream_inference_cost": 6, "provider_cost": 7}},
        ),
    ],
)
def test_the_cost_goes_into_the_usage(usage: dict[str, Any], expected: dict[str, Any]) -> None:
    found = read_whole(encoded(reply(TRICKY, model="m", usage=usage)), "mine")
    assert json.loads(found.priced("mine", 0.00125)) == reply(TRICKY, model="mine", usage=expected)


def test_the_cost_goes_into_the_replys_own_usage() -> None:
    before = reply(model="m", usage=PLAIN_USAGE)
    before["choices"][0]["usage"] = PLAIN_USAGE
    found = read_whole(encoded(before), "mine")
    assert json.loads(found.priced("mine", 0.5)) == {
        **before,
        "model": "mine",
        "usage": {**PLAIN_USAGE, "cost": 0.5},
    }


@pytest.mark.parametrize("members", [{}, {"usage": None}, {"usage": 5}])
def test_a_reply_without_a_usage_gets_no_cost(members: dict[str, Any]) -> None:
    found = read_whole(encoded(reply(model="mine", **members)), "mine")
    assert found.priced("mine", 0.5) == found.body


@pytest.mark.parametrize("choice", [None, 5, "text", [], {"message": None}, {"message": "text"}, {"delta": []}])
def test_an_odd_choice_counts_for_nothing(choice: Any) -> None:
    assert read_whole(encoded({"model": "m", "choices": [choice]}), "m").output_tokens == 0


@pytest.mark.parametrize(("size", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2)])
def test_a_whole_reply_that_broke_off_is_counted_by_its_bytes(size: int, tokens: int) -> None:
    assert partial_output_tokens(b"x" * size) == tokens


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("Hello", "Hello"),
        ([{"type": "text", "text": "a"}, {"type": "image"}, "odd", {"type": "text", "text": "b"}], "ab"),
        (None, ""),
        (5, ""),
    ],
)
def test_what_was_said_is_the_first_choices_text(content: Any, expected: str) -> None:
    body = reply(content, model="m")
    body["choices"].insert(0, {"index": 1, "message": {"content": "another"}, "finish_reason": "length"})
    found = read_whole(encoded(body), "m")
    assert found.said() == expected
    assert found.finish_reason == "length"


@pytest.mark.parametrize(
    "choice", [None, 5, "text", [], {"message": None}, {"finish_reason": 5}, {"finish_reason": ""}]
)
def test_an_odd_choice_says_nothing_and_has_no_reason(choice: Any) -> None:
    found = read_whole(encoded({"model": "m", "choices": [choice]}), "m")
    assert (found.said(), found.finish_reason) == ("", None)
