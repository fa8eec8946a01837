"""From bytes to a request: what is read of it, what is priced, and how everything else is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.api.parse.chat import ChatLimits, parse_chat
from gateway.errors import ImageError, RequestError
from gateway.pipeline.chat_request import ChatRequest, body_for
from tests.gateway.api.bodies import LIMITS, data_url, image, png, text, user


def parsed(*messages: Any, limits: ChatLimits = LIMITS, **members: Any) -> ChatRequest:
    payload = {"model": "auto", "messages": list(messages) or [user("hi")], **members}
    return parse_chat(json.dumps(payload).encode(), {}, limits)


def refusal_of(body: Any, *, headers: dict[bytes, bytes] | None = None) -> RequestError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(RequestError) as refusal:
        parse_chat(raw, headers or {}, LIMITS)
    return refusal.value


def test_a_plain_request() -> None:
    request = parsed(user("hello"))
    assert request.model == "auto"
    assert request.query.text == "hello"
    assert (request.query.prompt_bytes, request.query.messages, request.query.choices) == (5, 1, 1)
    assert (request.query.images, request.images, request.remote) == ((), (), ())
    controller = (request.query.max_output_tokens, request.cap, request.quality_weight, request.allowed)
    assert controller == (None,) * 4
    assert not request.streamed
    assert not request.query.uses_tools


def test_headers_are_read() -> None:
    headers = {b"x-budget": b"0.5", b"x-quality-weight": b"0.25", b"x-candidates": b"a,b"}
    request = parse_chat(b'{"model":"auto","messages":[{"role":"user","content":"hi"}]}', headers, LIMITS)
    assert (request.cap, request.quality_weight, request.allowed) == (500_000_000, 0.25, ("a", "b"))


def test_text_of_the_last_user_turn_is_what_routing_sees() -> None:
    request = parsed(
        {"role": "system", "content": "be short"},
        user([text("first")]),
        {"role": "assistant", "content": "answer"},
        user([text("one"), text("two")]),
        {"role": "tool", "content": "42", "tool_call_id": "t"},
    )
    assert request.query.text == "one\ntwo"
    assert request.query.messages == 5


def test_assistant_content_may_be_null() -> None:
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    request = parsed(user("hi"), {"role": "assistant", "content": None, "tool_calls": [call]}, user("and?"))
    assert request.query.text == "and?"
    assert request.query.prompt_bytes == len("hi") + len(json.dumps([call])) + len("and?")


def test_content_may_be_left_out() -> None:
    assert parsed({"role": "assistant", "tool_calls": []}).query.text == ""


def test_every_byte_of_the_prompt_is_counted() -> None:
    words = "h\u00e4 \u4f60 \U0001f600"
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}
    request = parsed(
        {"role": "system", "content": words, "name": "bob"},
        user([text(words), {"type": "input_audio", "input_audio": {"data": "AAAA"}}]),
        tools=tools,
        response_format=schema,
    )
    audio = len('{"type": "input_audio", "input_audio": {"data": "AAAA"}}')
    expected = 2 * len(words.encode()) + len('"bob"') + audio + len(json.dumps(tools)) + len(json.dumps(schema))
    assert request.query.prompt_bytes == expected
    assert request.query.shape is not None
    assert (request.query.shape.han, request.query.shape.four) == (2, 2)


def test_asking_for_the_prompt_cache_is_seen_wherever_it_stands() -> None:
    cached = {**text("hi"), "cache_control": {"type": "ephemeral"}}
    tool = {"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral"}}
    assert parsed(user([cached])).query.writes_cache
    assert parsed(user("hi"), tools=[tool]).query.writes_cache
    assert parsed(user("hi"), cache_control={"type": "ephemeral"}).query.writes_cache
    assert not parsed(user([text("cache_control")]), tools=[{"type": "function"}]).query.writes_cache


@pytest.mark.parametrize(
    ("members", "uses"),
    [
        ({"tools": [{"type": "function"}]}, True),
        ({"functions": [{"name": "f"}]}, True),
        ({"tools": []}, False),
        ({"tools": None}, False),
        ({"functions": None}, False),
        ({}, False),
    ],
)
def test_tools_are_used_when_there_are_any(members: dict[str, Any], uses: bool) -> None:
    assert parsed(**members).query.uses_tools is uses


@pytest.mark.parametrize(
    ("members", "limit"),
    [
        ({}, None),
        ({"max_tokens": None}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ({"max_tokens": 5, "max_completion_tokens": None}, 5),
    ],
)
def test_output_limit(members: dict[str, Any], limit: int | None) -> None:
    assert parsed(**members).query.max_output_tokens == limit


def test_streaming_and_its_options() -> None:
    assert parsed(stream=True).streamed
    assert not parsed(stream=None).streamed
    assert not parsed(stream=True).wants_usage
    assert parsed(stream=True, stream_options={"include_usage": True}).wants_usage
    assert not parsed(stream=True, stream_options=None).wants_usage


def test_an_inline_image_is_priced_by_its_header() -> None:
    file = png(40, 30)
    request = parsed(user([text("what?"), image(data_url(file), detail="low")]))
    [priced], [encoded] = request.query.images, request.images
    assert (priced.width, priced.height, priced.detail) == (40, 30, "low")
    assert encoded.read() == file
    assert encoded.key == priced.key
    assert request.query.prompt_bytes == len("what?")


@pytest.mark.parametrize("escape", [lambda url: url.replace("/", "\\/"), lambda url: url.replace("d", "\\u0064", 1)])
def test_an_escaped_data_url_is_the_same_image(escape: Any) -> None:
    url = data_url(png(64, 48))
    plain = json.dumps({"model": "auto", "messages": [user([image(url)])]})
    request = parse_chat(plain.replace(url, escape(url)).encode(), {}, LIMITS)
    assert request.query == parse_chat(plain.encode(), {}, LIMITS).query
    assert request.images[0].read() == png(64, 48)


def test_all_images_are_priced_and_those_of_the_last_turn_encoded() -> None:
    first, second, third = (data_url(png(10 * i, 10)) for i in (1, 2, 3))
    request = parsed(user([image(first)]), user([image(second), image(third)]), user("which?"))
    assert [priced.width for priced in request.query.images] == [10, 20, 30]
    assert [encoded.key for encoded in request.images] == [priced.key for priced in request.query.images[1:]]


def test_a_remote_image_is_left_to_be_fetched() -> None:
    url = "https://example.com/\u00e4.png?a=1"
    request = parsed(user([text("x"), image(data_url(png()))]), user([image(url, detail="high")]))
    [remote] = request.remote
    assert (remote.url, remote.detail, remote.message, remote.part, remote.encoded) == (url, "high", 1, 0, True)
    assert request.images == ()
    assert len(request.query.images) == 1


def test_an_empty_url_is_refused_where_it_would_be_fetched() -> None:
    assert parsed(user([image("")])).remote[0].url == ""


def test_more_images_than_allowed_are_refused() -> None:
    url = data_url(png())
    parsed(user([image(url)] * 3))
    error = refusal_of(
        {"model": "a", "messages": [user([image(url)] * 2 + [image("https://x/y.png")]), user([image(url)])]}
    )
    assert isinstance(error, ImageError)
    assert (error.code, error.param) == ("too_many_images", "messages[1].content[0].image_url")


def test_the_last_of_doubled_members_counts_and_alone_is_sent_on() -> None:
    body = b'{"model":"a","model":"auto","n":5,"messages":[{"role":"user","content":"hi"}],"n":2}'
    request = parse_chat(body, {}, LIMITS)
    assert (request.model, request.query.choices) == ("auto", 2)
    sent = body_for(request, "real", "max_tokens", 5)
    assert sent.count(b'"model"') == sent.count(b'"n"') == 1


MESSAGES = [user("hi")]
REFUSED: list[tuple[Any, str | None, str]] = [
    (b"", None, "not valid JSON"),
    (b"{", None, "not valid JSON"),
    (b"not json", None, "not valid JSON"),
    (b'{"model":"auto"} trailing', None, "not valid JSON"),
    (b"\xff\xfe", None, "not valid JSON"),
    (b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"temperature":NaN}', None, "not valid JSON"),
    (b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"user":"\xff"}', None, "not valid JSON"),
    (b"[1]", None, "got `array`"),
    (b"null", None, "got `null`"),
    (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, None, ""),
    ({"messages": MESSAGES}, "model", "provide a model"),
    ({"model": 5, "messages": MESSAGES}, "model", "5"),
    ({"model": None, "messages": MESSAGES}, "model", "null"),
    ({"model": "auto"}, "messages", "provide messages"),
    ({"model": "auto", "messages": []}, "messages", "too short"),
    ({"model": "auto", "messages": "hi"}, "messages", "hi"),
    ({"model": "auto", "messages": None}, "messages", "null"),
    ({"model": "auto", "messages": [user("a"), 5]}, "messages[1]", "got `int`"),
    ({"model": "auto", "messages": [{"content": "hi"}]}, "messages[0].role", "missing"),
    ({"model": "auto", "messages": [{"role": 5, "content": "hi"}]}, "messages[0].role", "5"),
    ({"model": "auto", "messages": [user(5)]}, "messages[0].content", "5"),
    ({"model": "auto", "messages": [user(True)]}, "messages[0].content", "true"),
    ({"model": "auto", "messages": [user({"type": "text"})]}, "messages[0].content", "type"),
    ({"model": "auto", "messages": [user(["hi"])]}, "messages[0].content[0]", "hi"),
    ({"model": "auto", "messages": [user([{}])]}, "messages[0].content[0]", "type"),
    ({"model": "auto", "messages": [user([{"type": "text"}])]}, "messages[0].content[0].text", "missing"),
    ({"model": "auto", "messages": [user([{"type": "text", "text": 5}])]}, "messages[0].content[0].text", "5"),
    ({"model": "auto", "messages": [user([{"type": "image_url"}])]}, "messages[0].content[0].image_url", "missing"),
    ({"model": "auto", "messages": [user([image(5)])]}, "messages[0].content[0].image_url.url", "5"),
    (
        {"model": "auto", "messages": [user([{"type": "image_url", "image_url": "https://x"}])]},
        "messages[0].content[0].image_url",
        "https://x",
    ),
    (
        {"model": "auto", "messages": [user([image("https://x", detail="huge")])]},
        "messages[0].content[0].image_url.detail",
        "huge",
    ),
    ({"model": "auto", "messages": MESSAGES, "n": 0}, "n", "0"),
    ({"model": "auto", "messages": MESSAGES, "n": 129}, "n", "129"),
    ({"model": "auto", "messages": MESSAGES, "n": 10**40}, "n", ""),
    ({"model": "auto", "messages": MESSAGES, "n": 1.5}, "n", "1.5"),
    ({"model": "auto", "messages": MESSAGES, "n": True}, "n", "true"),
    ({"model": "auto", "messages": MESSAGES, "max_tokens": 0}, "max_tokens", "0"),
    ({"model": "auto", "messages": MESSAGES, "max_tokens": -5}, "max_tokens", "-5"),
    ({"model": "auto", "messages": MESSAGES, "max_completion_tokens": "9"}, "max_completion_tokens", "9"),
    ({"model": "auto", "messages": MESSAGES, "stream": "yes"}, "stream", "yes"),
    ({"model": "auto", "messages": MESSAGES, "stream_options": True}, "stream_options", "true"),
    (
        {"model": "auto", "messages": [user([image("data:image/png;base64,AAAA")])]},
        "messages[0].content[0].image_url.url",
        "",
    ),
    (
        {"model": "auto", "messages": [user([image(data_url(png(1_001, 1_000)))])]},
        "messages[0].content[0].image_url.url",
        "1001x1000",
    ),
    (
        {"model": "auto", "messages": [user([image(data_url(png()[:60]))])]},
        "messages[0].content[0].image_url.url",
        "cut short",
    ),
]


@pytest.mark.parametrize(("body", "param", "shown"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_wrong_is_refused_by_name_and_value(body: Any, param: str | None, shown: str) -> None:
    error = refusal_of(body)
    assert 400 <= error.status < 500
    assert error.param == param
    assert shown in error.message
    assert error.type == "invalid_request_error"
    assert len(error.message) < 400
