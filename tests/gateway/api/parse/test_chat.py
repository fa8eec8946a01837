"""From bytes to a request: what is read of it, what is priced, and how everything else is refused."""

from __future__ import annotations

import base64
import codecs
import json
from typing import Any

import pytest

from gateway.api.parse.chat import ChatLimits, parse_chat
from gateway.errors import ImageError, RequestError
from gateway.pipeline.chat_request import ChatRequest, body_for
from gateway.routing.capabilities import AUDIO, JSON_OBJECT, JSON_SCHEMA, LOGIT_BIAS, LOGPROBS, PDF, STOP
from gateway.routing.query import QueryMedia
from tests.gateway.api.bodies import LIMITS, data_url, image, png, text, user
from tests.gateway.images.files import pdf_of, wav


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
        user([text(words), {"type": "refusal", "refusal": "no"}]),
        tools=tools,
        response_format=schema,
    )
    refusal = len('{"type": "refusal", "refusal": "no"}')
    expected = 2 * len(words.encode()) + len('"bob"') + refusal + len(json.dumps(tools)) + len(json.dumps(schema))
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
        ({"tools": [{"type": "function"}], "tool_choice": "none"}, False),
        ({"tools": [{"type": "function"}], "tool_choice": "auto"}, True),
        ({"functions": [{"name": "f"}], "function_call": "none"}, False),
        ({}, False),
    ],
)
def test_tools_are_used_when_there_are_any(members: dict[str, Any], uses: bool) -> None:
    assert parsed(**members).query.uses_tools is uses


@pytest.mark.parametrize("empty", [b"[ ]", b"[\n\t]", b"[" + b" " * 100 + b"]", b" null ", b"[]"])
def test_an_empty_list_of_tools_is_empty_however_it_is_written(empty: bytes) -> None:
    query = parse_chat(
        b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"tools":%b}' % empty, {}, LIMITS
    ).query
    assert not query.uses_tools
    assert not query.lists_tools


def test_tools_that_may_not_be_called_are_listed_and_those_of_the_history_are_used() -> None:
    forbidden = parsed(tools=[{"type": "function"}], tool_choice="none").query
    assert (forbidden.lists_tools, forbidden.uses_tools) == (True, False)
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "t", "content": "42"}]
    for messages in (history[:1], history[1:], [{"role": "tool", "content": "42"}]):
        query = parsed(user("hi"), *messages).query
        assert (query.lists_tools, query.uses_tools) == (False, True)


@pytest.mark.parametrize(
    ("members", "needs"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, JSON_SCHEMA),
        ({"response_format": {"type": "json_object"}}, JSON_OBJECT),
        ({"response_format": {"type": "grammar"}}, JSON_SCHEMA),
        ({"response_format": {"type": "text"}}, 0),
        ({"response_format": None}, 0),
        ({"logprobs": True}, LOGPROBS),
        ({"top_logprobs": 3}, LOGPROBS),
        ({"logprobs": False, "top_logprobs": 0}, 0),
        ({"stop": "END"}, STOP),
        ({"stop": ["a"]}, STOP),
        ({"stop": []}, 0),
        ({"logit_bias": {"50256": -100}}, LOGIT_BIAS),
        ({"logit_bias": {}}, 0),
        ({"stop": "x", "logprobs": True}, STOP | LOGPROBS),
        ({"temperature": 0.5, "seed": 1}, 0),
    ],
)
def test_what_changes_the_meaning_is_needed(members: dict[str, Any], needs: int) -> None:
    assert parsed(**members).query.needs == needs


def test_a_developer_message_is_seen_in_both_ways_of_reading() -> None:
    for more in ({}, {"name": "x"}):
        assert parsed({"role": "developer", "content": "be short", **more}, user("hi")).has_developer
    assert not parsed(user('{"role": "developer"}')).has_developer


def sound(data: bytes, format: str = "wav") -> dict[str, Any]:
    audio = {"data": base64.b64encode(data).decode(), "format": format}
    return {"type": "input_audio", "input_audio": audio}


def pdf(data: bytes, **members: Any) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": data_url(data, "application/pdf"), **members}}


def test_sound_is_priced_by_its_seconds_and_a_pdf_by_its_pages() -> None:
    query = parsed(user([text("what?"), sound(wav(10, samples=4_000)), pdf(pdf_of(3), filename="report.pdf")])).query
    assert query.media == QueryMedia(seconds=11, most_seconds=11, pages=3, page_text_bytes=0)
    assert query.needs == AUDIO | PDF
    assert query.prompt_bytes == len("what?") + len("report.pdf")


def test_the_files_of_all_messages_count_in_tool_results_too() -> None:
    result = {"role": "tool", "tool_call_id": "t", "content": [pdf(pdf_of(2))]}
    assert parsed(user([pdf(pdf_of(1)), sound(bytes(8_000), "mp3")]), result).query.media == QueryMedia(1, 8, 3, 0)


@pytest.mark.parametrize(
    ("part", "param", "status"),
    [
        ({"type": "file", "file": {"file_id": "file-1"}}, "file.file_id", 400),
        ({"type": "file", "file": {"file_url": "https://example.com/a.pdf"}}, "file.file_url", 400),
        ({"type": "file", "file": {"file_data": "https://example.com/a.pdf"}}, "file.file_data", 400),
        ({"type": "file", "file": {"file_data": "data:text/plain;base64,aGk="}}, "file.file_data", 400),
        ({"type": "file", "file": {"file_data": "data:application/pdf,plain"}}, "file.file_data", 400),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,http://x/y.pdf"}}, "file.file_data", 400),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,"}}, "file.file_data", 400),
        ({"type": "file", "file": {"filename": "a.pdf"}}, "file.file_data", 400),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "file_id": "f"}}, "file.", 400),
        ({"type": "input_audio", "input_audio": {"data": "https://x/a.wav", "format": "wav"}}, "input_audio.data", 400),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "flac"}}, "input_audio.format", 400),
        ({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, "input_audio.data", 400),
        ({"type": "input_audio", "input_audio": {"id": "a"}}, "input_audio", 400),
        (pdf(b"%PDF-" + bytes(LIMITS.image.max_bytes)), "file.file_data", 413),
    ],
)
def test_a_file_that_cannot_be_counted_is_refused(part: dict[str, Any], param: str, status: int) -> None:
    refusal = refusal_of({"model": "auto", "messages": [user([text("hi"), part])]})
    assert refusal.status == status
    assert refusal.param is not None
    assert refusal.param.startswith(f"messages[0].content[1].{param}")


def test_a_file_may_come_without_a_data_url_wrapped_into_lines_or_without_padding() -> None:
    encoded = base64.encodebytes(pdf_of(2)).decode()
    for data in (encoded, encoded.replace("\n", "").rstrip("="), f"data:application/pdf;base64,{encoded}"):
        query = parsed(user([{"type": "file", "file": {"file_data": data}}])).query
        assert query.media is not None
        assert query.media.pages == 2


def test_a_byte_order_mark_is_ignored() -> None:
    body = codecs.BOM_UTF8 + json.dumps({"model": "auto", "messages": [user("hä")]}, ensure_ascii=False).encode()
    assert parse_chat(body, {}, LIMITS).query.text == "hä"


def test_the_original_detail_is_taken() -> None:
    part = image(data_url(png()), detail="original")
    assert parsed(user([part])).query.images[0].detail == "original"


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


@pytest.mark.parametrize("kind", ["web_search", "code_interpreter", "openrouter:web_search", "x_search"])
def test_tools_that_run_at_the_provider_are_refused_by_name(kind: str) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}, {"type": kind}]
    with pytest.raises(RequestError, match=rf"tools\[1\]\.type: '{kind}'"):
        parsed(user("hi"), tools=tools)
    parsed(user("hi"), tools=tools[:1])
    parsed(user("hi"), tools=[{"type": "custom", "custom": {"name": "f"}}])


@pytest.mark.parametrize("name", ["search_parameters", "best_of", "vl_high_resolution_images", "mm_processor_kwargs"])
def test_members_that_change_the_bill_unseen_are_refused_by_name(name: str) -> None:
    with pytest.raises(RequestError, match=name):
        parsed(user("hi"), **{name: {"a": 1}})


def test_documents_are_part_of_the_prompt() -> None:
    plain, documented = parsed(user("hi")), parsed(user("hi"), documents=[{"text": "x" * 1_000}])
    assert documented.query.prompt_bytes - plain.query.prompt_bytes > 1_000


def test_a_tool_of_the_providers_is_refused_however_its_type_is_written() -> None:
    body = rb'{"model":"auto","messages":[{"role":"user","content":"hi"}],"tools":[{"t\u0079pe":"web_search"}]}'
    with pytest.raises(RequestError, match=r"tools\[0\]\.type"):
        parse_chat(body, {}, LIMITS)
