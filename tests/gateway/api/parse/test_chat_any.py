"""Any bytes at all: each body is read or refused, and nothing else ever happens."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.api.parse.chat import parse_chat
from gateway.errors import InvalidRequest, RequestError
from gateway.pipeline.chat_request import body_for
from tests.gateway.api.bodies import LIMITS, data_url, image, png, text


@pytest.mark.parametrize("depth", [100, 500, 900, 1_100, 3_000, 100_000])
@pytest.mark.parametrize("where", ["metadata", "stream_options", "messages", "tools"])
def test_nesting_is_refused_or_sent_on_but_breaks_nothing(depth: int, where: str) -> None:
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    if where == "messages":
        messages, rest = b'[{"role":"user","content":"hi","extra":' + nested + b"}]", b""
    else:
        messages, rest = b'[{"role":"user","content":"hi"}]', b',"' + where.encode() + b'":' + nested
    body = b'{"model":"auto","stream":true,"messages":' + messages + rest + b"}"
    try:
        request = parse_chat(body, {}, LIMITS)
    except InvalidRequest as error:
        assert error.code == "invalid_json"
        return
    assert nested[:-20] in body_for(request, "real", "max_tokens", 5).replace(b" ", b"")


WITH_A_NUMBER = b'{"model":"auto","stream":true,"messages":[{"role":"user","content":"hi"}],"%s":{"x":%s}}'


def test_a_number_too_long_to_be_read_is_refused_where_it_has_to_be_read() -> None:
    with pytest.raises(InvalidRequest, match="out of range") as refusal:
        parse_chat(WITH_A_NUMBER % (b"stream_options", b"1" * 6_000), {}, LIMITS)
    assert (refusal.value.status, refusal.value.param) == (400, "stream_options[...]")
    assert len(refusal.value.message) < 300


@pytest.mark.parametrize(("member", "digits"), [(b"metadata", 6_000), (b"metadata", 30), (b"stream_options", 30)])
def test_a_long_number_is_sent_on_as_it_came(member: bytes, digits: int) -> None:
    request = parse_chat(WITH_A_NUMBER % (member, b"1" * digits), {}, LIMITS)
    sent = body_for(request, "real", "max_tokens", 5).replace(b" ", b"")
    assert b'"%s":{"x":%s' % (member, b"1" * digits) in sent


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=4,
)
BASE: dict[str, Any] = {
    "model": "auto",
    "messages": [
        {"role": "system", "content": "x"},
        {"role": "user", "content": [text("what?"), image(data_url(png())), image("https://example.com/x.png")]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "t"}]},
    ],
    "n": 2,
    "max_tokens": 5,
    "stream": True,
    "stream_options": {"include_usage": True},
    "tools": [{"type": "function"}],
}


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [prefix] if prefix else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += paths(inner, (*prefix, key))
    return found


PATHS = paths(BASE)


def is_read_or_refused(body: bytes) -> None:
    try:
        request = parse_chat(body, {}, LIMITS)
    except RequestError as error:
        json.dumps([error.message, error.param, error.code]).encode()
        return
    assert json.loads(body_for(request, "real", "max_tokens", 5))["model"] == "real"


@settings(max_examples=5 * settings().max_examples)
@given(st.sampled_from(PATHS), JSON)
def test_any_value_anywhere_is_read_or_refused(path: tuple[Any, ...], value: Any) -> None:
    payload = copy.deepcopy(BASE)
    place: Any = payload
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    is_read_or_refused(json.dumps(payload).encode())
    is_read_or_refused(json.dumps(payload, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@settings(max_examples=5 * settings().max_examples)
@given(st.data())
def test_any_changed_bytes_are_read_or_refused(data: st.DataObject) -> None:
    body = bytearray(json.dumps(BASE).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    is_read_or_refused(bytes(body))
    is_read_or_refused(bytes(body[: data.draw(st.integers(0, len(body)))]))


@given(st.binary(max_size=200))
@example(b'{"model":"auto","messages":[{"role":"user","content":"\\ud800"}]}')
@example(b'{"model":"\\ud800","messages":[{"role":"user","content":"hi"}]}')
@example(
    b'{"model":"auto","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"\\ud800"}}]}]}'
)
@example(b'{"\\ud800":1,"model":"auto","messages":[{"role":"user","content":"hi"}]}')
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    is_read_or_refused(body)
