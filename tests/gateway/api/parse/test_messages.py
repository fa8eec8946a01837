"""Messages are read in one pass or member by member, to the same end; nothing hides behind a doubled member."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gateway.api.parse.messages import Message, read_messages
from gateway.errors import InvalidRequest

URL = "data:image/png;base64,AAAA"
texts = st.builds(lambda text: {"type": "text", "text": text}, st.text(max_size=20))
images = st.builds(
    lambda url, detail: {"type": "image_url", "image_url": {"url": url, **detail}},
    st.sampled_from([URL, "https://example.com/a.png", "url"]),
    st.sampled_from([{}, {"detail": "low"}, {"detail": None}]),
)
contents = st.one_of(st.none(), st.text(max_size=20), st.lists(st.one_of(texts, images), max_size=4))
messages = st.lists(st.builds(lambda role, content: {"role": role, "content": content}, st.text(max_size=5), contents))


def read(value: object) -> list[Message]:
    return read_messages(Raw(json.dumps(value, ensure_ascii=False).encode()))


def plain(message: Message) -> tuple[Any, ...]:
    parts = [
        (p.type, p.text, p.image_url and (bytes(memoryview(p.image_url.url)), p.image_url.detail))
        for p in message.parts
    ]
    return message.role, message.text, parts


@given(messages)
def test_both_ways_of_reading_agree(usual: list[dict[str, Any]]) -> None:
    """A `name` makes a message unusual: it is then read member by member, and only `others` may differ."""
    unusual = [{**message, "name": "x"} for message in usual]
    assert [plain(m) for m in read(usual)] == [plain(m) for m in read(unusual)]
    assert all(message.others == [] for message in read(usual))
    assert all([bytes(other) for other in message.others] == [b'"x"'] for message in read(unusual))


def content(*parts: object, role: str = "user") -> list[object]:
    return [{"role": role, "tool_call_id": "c", "content": list(parts)}]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "refusal", "refusal": "no"},
        {"type": "thinking", "thinking": "let me see", "signature": "s"},
        {"type": "thinking", "thinking": [{"type": "text", "text": "let me see"}]},
        {"type": "reasoning", "text": "let me see"},
        {"type": "reasoning", "reasoning": "let me see", "image_url": None},
    ],
)
def test_text_of_a_history_is_priced_by_its_length(part: dict[str, object]) -> None:
    [message] = read([{"role": "assistant", "content": [part, {"type": "text", "text": "hi"}]}])
    assert [bytes(other).decode() for other in message.others] == [json.dumps(part)]
    assert [part.text for part in message.parts] == [None, "hi"]


LINK = {"url": "https://example.com/a"}


@pytest.mark.parametrize("role", ["user", "assistant", "tool", "system"])
@pytest.mark.parametrize(
    ("part", "param", "why"),
    [
        ({"type": "video_url", "video_url": LINK}, "type", "'video_url' is not accepted: what a video costs"),
        ({"type": "input_video", "input_video": LINK}, "type", "'input_video' is not accepted"),
        ({"type": "input_image", "image_url": "https://example.com/a"}, "type", "send pictures as image_url"),
        ({"type": "image", "source": {"type": "url", **LINK}}, "type", "send pictures as image_url"),
        ({"type": "document", "source": {"type": "url", **LINK}}, "type", "send a PDF as a file"),
        ({"type": "document_url", "document_url": "https://example.com/a"}, "type", "send a PDF as a file"),
        ({"type": "input_file", "file_id": "f"}, "type", "send a PDF as a file"),
        ({"type": "tool_result", "content": [{"type": "image"}]}, "type", "a message of the role tool"),
        ({"type": "hologram"}, "type", "'hologram' is not accepted: what it costs cannot be known"),
        ({"type": "text", "text": "hi", "file": {"file_id": "f"}}, "file", "in a part of the type 'text'"),
        ({"type": "refusal", "refusal": "no", "video_url": LINK}, "video_url", "in a part of the type 'refusal'"),
        ({"type": "thinking", "thinking": [{"type": "image_url", "image_url": LINK}]}, "thinking[0]", "image_url"),
        ({"type": "reasoning"}, "reasoning", "is missing"),
        ({"type": "file"}, "file", "is missing"),
    ],
)
def test_a_part_whose_cost_cannot_be_known_is_refused_by_name(
    role: str, part: dict[str, object], param: str, why: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(content({"type": "text", "text": "hi"}, part, role=role))
    assert refused.value.status == 400
    assert refused.value.param is not None
    assert refused.value.param.startswith(f"messages[0].content[1].{param}")
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("member", "value", "is_refused"),
    [
        ("audio", {"id": "audio_1"}, True),
        ("images", [{"image_url": LINK}], True),
        ("audio", None, False),
        ("images", [], False),
    ],
)
def test_a_message_that_names_media_elsewhere_is_refused(member: str, value: object, is_refused: bool) -> None:
    messages = [{"role": "assistant", "content": "hi", member: value}]
    if not is_refused:
        assert read(messages)[0].text == "hi"
        return
    with pytest.raises(InvalidRequest, match=rf"messages\[0\].{member} is not accepted"):
        read(messages)


@pytest.mark.parametrize(
    ("message", "uses"),
    [
        ({"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}, True),
        ({"role": "assistant", "content": None, "function_call": {"name": "f"}}, True),
        ({"role": "tool", "tool_call_id": "c", "content": "42"}, True),
        ({"role": "assistant", "content": "hi", "tool_calls": None, "function_call": None}, False),
        ({"role": "assistant", "content": "hi", "tool_calls": []}, False),
    ],
)
def test_tools_in_the_history_are_seen(message: dict[str, object], uses: bool) -> None:
    assert read([message])[0].uses_tools is uses


PRIVATE = '"http://127.0.0.1/"'
TYPE = '"type": "image_url"'
GOOD = f'{{"url": "{URL}"}}'


@pytest.mark.parametrize(
    "message",
    [
        f'{{"content": [{{{TYPE}, "image_url": {{"url": {PRIVATE}, "url": "{URL}"}}}}]}}',
        f'{{"content": [{{{TYPE}, "image_url": {{"url": "{URL}", "url": {PRIVATE}}}}}]}}',
        f'{{"content": [{{{TYPE}, "image_url": {{"\\u0075rl": {PRIVATE}, "url": "{URL}"}}}}]}}',
        f'{{"content": [{{{TYPE}, "image_url": {{"url": {PRIVATE}}}, "image_url": {GOOD}}}]}}',
        f'{{"content": [{{{TYPE}, "image_url": {PRIVATE}, "image_url": {GOOD}}}]}}',
        f'{{"content": [{{{TYPE}, "image_url": {{"url": {PRIVATE}}}}}], "content": "hi"}}',
    ],
)
def test_url_can_not_hide_behind_a_doubled_member(message: str) -> None:
    body = '[{"role": "user", ' + message[1:] + "]"
    json.loads(body)
    with pytest.raises(InvalidRequest, match="appears twice in one object"):
        read_messages(Raw(body.encode()))


def test_text_that_reads_url_is_no_doubled_member() -> None:
    [message] = read([{"role": "user", "content": [{"type": "text", "text": "url"}, *[_image() for _ in range(2)]]}])
    assert len(message.parts) == 3


def _image() -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": URL}}


def test_quotes_and_nulls_in_plain_messages_are_no_doubled_member() -> None:
    tricky = ['say "hi"', "back\\slash", 'both \\" of them', "", "null"]
    value = [{"role": "user", "content": [{"type": "text", "text": text}, _image()]} for text in tricky]
    value += [{"role": "assistant", "content": None}, {"role": "assistant"}]
    assert [message.text or message.parts[0].text if message.parts else None for message in read(value)][:5] == tricky


def test_member_that_stands_twice_is_refused_in_text_too() -> None:
    with pytest.raises(InvalidRequest, match="'content' appears twice"):
        read_messages(Raw(b'[{"role": "user", "content": "a", "content": "b"}]'))
