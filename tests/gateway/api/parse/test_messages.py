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


def test_what_is_not_known_is_priced_by_its_length() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}
    [message] = read([{"role": "user", "content": [sound, {"type": "text", "text": "hi"}]}])
    assert [bytes(other).decode() for other in message.others] == [json.dumps(sound)]
    assert [part.text for part in message.parts] == [None, "hi"]


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
