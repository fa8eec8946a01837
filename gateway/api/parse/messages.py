"""The messages of a request, read in one pass if they have the usual shape.

The usual shape is a role and a content of text and images, and nothing else. Everything else is legal too: such
messages are read again, member by member, so that unknown members are still priced and errors name the member at fault.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Raw

from gateway.errors import InvalidRequest

TEXT = msgspec.json.Decoder(str)


class Tool(msgspec.Struct):
    """The kind of a tool; its other members are not read."""

    type: str = "function"


TOOLS = msgspec.json.Decoder(list[Tool] | None)
REFUSED = "unsupported_content_part"
"""The code of a refusal of a part whose cost cannot be known."""
ACCEPTED = ("text", "image_url", "input_audio", "file", "refusal", "thinking", "reasoning")
"""The closed list of parts. `thinking` (Mistral, Anthropic) and `reasoning` are what clients put back into a
conversation's history: text, and priced as such.
"""
_IMAGE_INSTEAD = "send pictures as image_url"
_FILE_INSTEAD = "send a PDF as a file with file_data"
_NO_VIDEO = "what a video costs cannot be known before it is sent"
WHY_NOT = {
    "video_url": _NO_VIDEO,
    "input_video": _NO_VIDEO,
    "video": _NO_VIDEO,
    "input_image": _IMAGE_INSTEAD,
    "image": _IMAGE_INSTEAD,
    "document": _FILE_INSTEAD,
    "document_url": _FILE_INSTEAD,
    "input_file": _FILE_INSTEAD,
    "audio_url": "send sound as input_audio with its data",
    "tool_use": "calls of tools are in tool_calls",
    "tool_result": "send the result of a tool as a message of the role tool",
    "redacted_thinking": "what it costs cannot be seen",
}
MEDIA = ("image_url", "input_audio", "file", "video_url", "audio_url", "source", "image", "video", "audio", "document")
"""Members of a part that hold something else than text; a part may have the one that its type names."""
UNSEEN = ("audio", "images", "videos", "files", "attachments", "documents")
"""Members of a message that hold something else than text, or name it by an id."""


class ImageUrl(msgspec.Struct, forbid_unknown_fields=True):
    """The address of an image. `url` is a raw JSON string, as in the body."""

    url: Raw
    detail: str | None = None


class Part(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    text: str | None = None
    image_url: ImageUrl | None = None


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: str
    content: str | list[Part] | None = None


@dataclass(slots=True)
class Message:
    """A message. `others` is everything that is neither its text nor its images, raw as in the body.

    `may_write_cache` is True if it may ask for the provider's prompt cache (`cache_control`). `attached` has its sound
    and files, with the index of their part. `uses_tools` is True if it calls a tool or is a tool's result.
    """

    role: str
    text: str = ""
    parts: list[Part] = field(default_factory=list)
    others: list[Raw] = field(default_factory=list)
    may_write_cache: bool = False
    attached: tuple[tuple[int, Attachment], ...] = ()
    uses_tools: bool = False


class Attachment(NamedTuple):
    """A part `input_audio` or `file`: its type, and the member of that name, raw as in the body."""

    type: str
    value: Raw


class _LoosePart(msgspec.Struct):
    type: str
    text: str | None = None
    image_url: Raw = Raw()
    input_audio: Raw = Raw()
    file: Raw = Raw()
    video_url: Raw = Raw()
    audio_url: Raw = Raw()
    source: Raw = Raw()
    image: Raw = Raw()
    video: Raw = Raw()
    audio: Raw = Raw()
    document: Raw = Raw()
    refusal: Raw = Raw()
    thinking: Raw = Raw()
    reasoning: Raw = Raw()


class _TextPart(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["text"]
    text: str


class _LooseImageUrl(msgspec.Struct):
    url: Raw
    detail: str | None = None


_USUAL = msgspec.json.Decoder(list[_Message])
_MESSAGES = msgspec.json.Decoder(list[dict[str, Raw]])
_PARTS = msgspec.json.Decoder(list[Raw])
_PART = msgspec.json.Decoder(_LoosePart)
_TEXTS = msgspec.json.Decoder(str | list[_TextPart])
_IMAGE_URL = msgspec.json.Decoder(_LooseImageUrl)


def read_messages(raw: Raw) -> list[Message]:
    """Read `messages`. Raises InvalidRequest, naming the member at fault.

    A member that appears twice is refused: Loupe would read one of the two and the provider, perhaps, the other, which
    could hide an image's URL.
    """
    data = bytes(memoryview(raw))
    try:
        usual = _USUAL.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        usual = None
    if usual is not None and all(_is_usual(message) for message in usual):
        if _quotes(data) != sum([_quotes_of(message) for message in usual]):
            _refuse_doubled_members(data)
        return [_usual(message) for message in usual]
    found = [_read(index, members) for index, members in enumerate(decode(_MESSAGES, raw, "messages"))]
    if b"image_url" in data or b"\\u" in data or any(message.attached for message in found):
        _refuse_doubled_members(data)
    if b"cache_control" in data or b"\\u" in data:  # an escape sequence may hide the word
        for message in found:
            message.may_write_cache = True
    return found


def _quotes(data: bytes) -> int:
    """Return the number of quotes that enclose strings, including members' names; -1 if escapes make it ambiguous."""
    if b"\\" not in data:
        return data.count(b'"')
    return -1 if b"\\\\" in data else data.count(b'"') - data.count(b'\\"')


def _quotes_of(message: _Message) -> int:
    """Return the number of quotes of a message in which nothing appears twice and nothing is null."""
    content = message.content
    if not isinstance(content, list):
        return 4 if content is None else 8
    quotes = 6
    for part in content:
        if part.image_url is None:
            quotes += 8
        else:
            quotes += 10 if part.image_url.detail is None else 14
    return quotes


def _is_usual(message: _Message) -> bool:
    content = message.content
    return not isinstance(content, list) or all(
        (part.type == "text" and part.text is not None and part.image_url is None)
        or (part.type == "image_url" and part.image_url is not None and part.text is None)
        for part in content
    )


def _usual(message: _Message) -> Message:
    content = message.content
    if isinstance(content, list):
        return Message(message.role, parts=content)
    return Message(message.role, content or "")


def _read(index: int, members: dict[str, Raw]) -> Message:
    where = f"messages[{index}]"
    role = decode(TEXT, members["role"], f"{where}.role") if "role" in members else None
    if role is None:
        raise InvalidRequest(f"{where}.role is missing", param=f"{where}.role", code="missing_required_parameter")
    message = Message(role)
    message.others = [value for name, value in members.items() if name not in ("role", "content")]
    for name in UNSEEN:
        if name in members and not holds_nothing(members[name]):
            what = f"{where}.{name} is not accepted: what it costs cannot be known"
            raise InvalidRequest(what, param=f"{where}.{name}", code=REFUSED)
    message.uses_tools = role in ("tool", "function") or any(
        name in members and not holds_nothing(members[name]) for name in ("tool_calls", "function_call")
    )
    content = members.get("content", Raw(b"null"))
    kind = bytes(memoryview(content)[:1])
    if kind == b'"':
        message.text = decode(TEXT, content, f"{where}.content")
    elif kind == b"[":
        for number, raw in enumerate(decode(_PARTS, content, f"{where}.content")):
            _read_part(message, f"{where}.content[{number}]", raw)
    elif kind != b"n":
        what = f"{where}.content must be a string or an array of parts, not {shown(content)}"
        raise InvalidRequest(what, param=f"{where}.content")
    return message


def _read_part(message: Message, where: str, raw: Raw) -> None:
    part = decode(_PART, raw, where)
    read = Part(part.type)
    if part.type == "image_url":
        if not memoryview(part.image_url):
            what = f"{where}.image_url is missing"
            raise InvalidRequest(what, param=f"{where}.image_url", code="missing_required_parameter")
        image = decode(_IMAGE_URL, part.image_url, f"{where}.image_url")
        read.image_url = ImageUrl(image.url, image.detail)
    elif part.type == "text":
        if part.text is None:
            raise InvalidRequest(f"{where}.text is missing", param=f"{where}.text")
        read.text = part.text
    elif part.type in ("input_audio", "file"):
        value = part.input_audio if part.type == "input_audio" else part.file
        if holds_nothing(value):
            what = f"{where}.{part.type} is missing"
            raise InvalidRequest(what, param=f"{where}.{part.type}", code="missing_required_parameter")
        message.attached += ((len(message.parts), Attachment(part.type, value)),)
    else:
        _check_text_part(part, where)
        message.others.append(raw)
    for name in MEDIA:
        if name != part.type and not holds_nothing(getattr(part, name)):
            what = f"{where}.{name} is not accepted in a part of the type {part.type!r}"
            raise InvalidRequest(what, param=f"{where}.{name}", code=REFUSED)
    message.parts.append(read)


def _check_text_part(part: _LoosePart, where: str) -> None:
    """Refuse a part that is not on the closed list, or that is and does not hold text."""
    if part.type not in ACCEPTED:
        why = WHY_NOT.get(part.type, "what it costs cannot be known")
        what = f"{where}.type: a part of the type {part.type[:40]!r} is not accepted: {why}"
        raise InvalidRequest(f"{what}; accepted: {', '.join(ACCEPTED)}", param=f"{where}.type", code=REFUSED)
    value: Raw = getattr(part, part.type)
    if memoryview(value):
        decode(_TEXTS, value, f"{where}.{part.type}")
    elif part.text is None:
        what = f"{where}.{part.type} is missing"
        raise InvalidRequest(what, param=f"{where}.{part.type}", code="missing_required_parameter")


def holds_nothing(raw: Raw) -> bool:
    """Return whether a member is absent, null, false or empty, however much white space is in it."""
    start = bytes(memoryview(raw)[:1])
    if start in (b"[", b"{"):
        inside = bytes(memoryview(raw)[1:-1])
        return not inside or inside.isspace()
    return bytes(memoryview(raw)[:6]) in (b"", b"null", b"false", b'""')


def _refuse_doubled_members(data: bytes) -> None:
    try:
        json.loads(data, object_pairs_hook=_pairs)
    except (
        ValueError,
        RecursionError,
    ) as error:  # some parsers accept it, such as a number of 6,000 digits, but not all
        raise InvalidRequest(f"the body is not valid JSON: {error}"[:300], code="invalid_json") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise InvalidRequest(f"messages: {name[:40]!r} appears twice in one object", param="messages")
        members[name] = value
    return members


def decode(decoder: msgspec.json.Decoder[Any], raw: bytes | Raw, where: str) -> Any:
    """Return the decoded value. Raises InvalidRequest, naming the member below `where` and showing the value."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        param = where + path.rstrip("`")
        raise InvalidRequest(f"{param or 'body'}: {reason} in {shown(raw)}", param=param or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}", code="invalid_json") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply", code="invalid_json") from None


def shown(raw: bytes | Raw | None) -> str:
    """Return the start of a value, for a message."""
    text = bytes(memoryview(raw or b"null")[:60]).decode("utf-8", "replace")
    return text if len(text) < 60 else text[:57] + "..."
