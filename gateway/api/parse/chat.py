"""The parser from bytes to a request: the body is parsed once, in C, and raw values are slices of its bytes."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from gateway.api.parse.attachments import AttachmentCount
from gateway.api.parse.headers import budget_cap, candidate_names, quality_weight, session_cap
from gateway.api.parse.messages import TEXT, TOOLS, ImageUrl, Message, decode, holds_nothing, read_messages, shown
from gateway.billing.text_tokens import shape_of
from gateway.errors import ImageError, InvalidRequest
from gateway.images.data_url import ImageLimits, check_data_url, is_data_url
from gateway.pipeline.chat_request import ChatRequest, InlineImage, RemoteImage, inline_image
from gateway.routing.capabilities import JSON_OBJECT, JSON_SCHEMA, LOGIT_BIAS, LOGPROBS, STOP
from gateway.routing.query import Query, QueryImage

LISTED_TIERS = (None, "auto", "default", "flex", "standard", "standard_only", "on_demand")
"""Service tiers that are charged at list price or less; `priority` costs about twice."""
CHARGED_APART = {
    "web_search_options": "searches are charged by their number",
    "plugins": "plugins are charged separately",
    "models": "another model would be charged at its own price: name candidates by X-Candidates",
    "search_parameters": "searches are charged by their number",
    "best_of": "replies are charged that are not sent: ask for n",
    "vl_high_resolution_images": "the tokens of pictures could not be counted",
    "mm_processor_kwargs": "the tokens of pictures could not be counted",
}
OWN_TOOLS = ("function", "custom")
"""Tools that the client runs itself."""


_ANY = msgspec.json.Decoder(Any)

CACHE_MEMBERS = frozenset({"prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"})
"""Members that ask for a prompt cache. Source: https://platform.openai.com/docs/guides/prompt-caching."""
LARGEST_CHOICES = 128
LARGEST_OUTPUT_TOKENS = 10_000_000
DETAILS = ("auto", "low", "high", "original")
FORMATS = {"json_schema": JSON_SCHEMA, "json_object": JSON_OBJECT, "text": 0}
"""The needs of the kinds of `response_format`; others (grammars) are no easier to follow than a schema."""
PROMPT_MEMBERS = (
    "tools",
    "functions",
    "response_format",
    "tool_choice",
    "prediction",
    "documents",
    "chat_template",
    "chat_template_kwargs",
    "guided_json",
)
"""Top-level members, besides the messages, that become prompt tokens."""


_CLAIM = msgspec.json.Decoder(bool | None)
_NUMBER = msgspec.json.Decoder(int | None)
_OPTIONS = msgspec.json.Decoder(dict[str, Any] | None)
_MEMBERS = msgspec.json.Decoder(dict[str, Raw])


@dataclass(frozen=True, slots=True)
class ChatLimits:
    """Limits on a request's images; a request beyond them is refused."""

    image: ImageLimits
    max_images: int


class _ToolsAndNeeds(NamedTuple):
    """The needs of the top-level members: `needs` are bits of `gateway.routing.capabilities`."""

    lists_tools: bool = False
    may_call_tools: bool = False
    needs: int = 0


_NO_NEEDS = _ToolsAndNeeds()
NEEDING = frozenset({"tools", "functions", "response_format", "logprobs", "top_logprobs", "stop", "logit_bias"})
"""The members that `_asked` reads; most requests have none."""


@dataclass(slots=True)
class _MessageFacts:
    """The facts read from the messages so far. Images are stored with the index of their message."""

    pieces: list[str | memoryview] = field(default_factory=list)
    may_write_cache: bool = False
    user_text: str = ""
    priced: list[QueryImage] = field(default_factory=list)
    inline: list[tuple[int, InlineImage]] = field(default_factory=list)
    remote: list[tuple[int, int, str, str]] = field(default_factory=list)
    attachments: AttachmentCount | None = None
    uses_tools: bool = False
    has_developer: bool = False


def parse_chat(body: bytes, headers: Mapping[bytes, bytes], limits: ChatLimits) -> ChatRequest:
    """Parse a chat completion. Raises InvalidRequest or ImageError, naming the parameter and the value."""
    body = _checked_text(body)
    fields: dict[str, Raw] = decode(_MEMBERS, body, "")
    if "model" not in fields:
        raise InvalidRequest("you must provide a model", param="model", code="missing_required_parameter")
    if "messages" not in fields:
        raise InvalidRequest("you must provide messages", param="messages", code="missing_required_parameter")
    refuse_charged_apart(fields)
    model: str = decode(TEXT, fields["model"], "model")
    options = _member(fields, "stream_options", _OPTIONS) or {}
    messages = read_messages(fields["messages"])
    if not messages:
        raise InvalidRequest("messages: [] is too short, at least one message is needed", param="messages")
    seen = _MessageFacts()
    for index, message in enumerate(messages):
        _read_message(seen, index, message, limits)
    for name in PROMPT_MEMBERS:
        if name in fields:
            seen.pieces.append(memoryview(fields[name]))
    shape = shape_of(seen.pieces)
    last = _last_with_images(seen) if seen.inline or seen.remote else -1
    asked = _NO_NEEDS if NEEDING.isdisjoint(fields) else _asked(fields)
    attached = seen.attachments
    return ChatRequest(
        model=model,
        fields={name: memoryview(value) for name, value in fields.items()},
        query=Query(
            text=seen.user_text,
            prompt_bytes=shape.most_bytes,
            messages=len(messages),
            images=tuple(seen.priced),
            choices=_whole_number(fields, "n", LARGEST_CHOICES) or 1,
            max_output_tokens=_output_limit(fields),
            uses_tools=seen.uses_tools or asked.may_call_tools,
            writes_cache=seen.may_write_cache or _may_write_cache(fields),
            shape=shape,
            lists_tools=asked.lists_tools,
            needs=asked.needs if attached is None else asked.needs | attached.needs,
            media=attached.media if attached is not None else None,
        ),
        images=tuple([image for index, image in seen.inline if index == last]),
        remote=tuple([RemoteImage(url, detail, m, p, m == last) for m, p, url, detail in seen.remote]),
        streamed=bool(_member(fields, "stream", _CLAIM)),
        wants_usage=bool(options.get("include_usage")),
        cap=budget_cap(headers),
        quality_weight=quality_weight(headers),
        allowed=candidate_names(headers),
        session=session_cap(headers),
        has_developer=seen.has_developer,
    )


def _last_with_images(seen: _MessageFacts) -> int:
    return max([*(index for index, _ in seen.inline), *(index for index, *_ in seen.remote)])


def _checked_text(body: bytes) -> bytes:
    """Return the body without a byte order mark. Refuse a body that is not UTF-8.

    Members that are passed on are not parsed, and could carry such bytes to a provider.
    """
    if body.isascii():
        return body
    if body.startswith(codecs.BOM_UTF8):  # RFC 8259, 8.1: a parser may ignore it
        body = body[len(codecs.BOM_UTF8) :]
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}", code="invalid_json") from None
    return body


def _read_message(seen: _MessageFacts, index: int, message: Message, limits: ChatLimits) -> None:
    text = message.text
    if message.parts:
        texts = [part.text for part in message.parts if part.text is not None]
        text = "\n".join(texts)
        seen.pieces += texts
    else:
        seen.pieces.append(text)
    if message.others:
        seen.pieces += map(memoryview, message.others)
    seen.may_write_cache |= message.may_write_cache
    for number, part in enumerate(message.parts):
        if part.image_url is not None:
            _read_image(seen, index, number, part.image_url, limits)
    for number, attachment in message.attached:
        attached = seen.attachments = seen.attachments or AttachmentCount(limits.image.max_bytes)
        seen.pieces.append(attached.read(attachment, f"messages[{index}].content[{number}]"))
    seen.uses_tools |= message.uses_tools
    role = message.role
    if role == "user":
        if text:
            seen.user_text = text
    elif role == "developer":
        seen.has_developer = True
    elif role in ("tool", "function"):
        seen.uses_tools = True


def _read_image(seen: _MessageFacts, index: int, number: int, image: ImageUrl, limits: ChatLimits) -> None:
    where = f"messages[{index}].content[{number}].image_url"
    if len(seen.priced) + len(seen.remote) >= limits.max_images:
        raise ImageError(f"{where}: more than {limits.max_images} images", param=where, code="too_many_images")
    detail = image.detail or "auto"
    if detail not in DETAILS:
        raise InvalidRequest(
            f"{where}.detail: {detail[:40]!r} is not one of {', '.join(DETAILS)}", param=f"{where}.detail"
        )
    url = _unescaped(image.url, f"{where}.url")
    if not is_data_url(_utf8(url[:5])):
        seen.remote.append((index, number, _utf8(url), detail))
        return
    found = check_data_url(url, limits.image, f"{where}.url")
    payload = url[found.url.start : found.url.end]
    encoded, priced = inline_image(payload, found.header.width, found.header.height, detail)
    seen.inline.append((index, encoded))
    seen.priced.append(priced)


def _unescaped(url: Raw, where: str) -> memoryview:
    """Return the text of a JSON string as bytes: a slice of the request, unless it contains escapes."""
    raw = memoryview(url)
    if bytes(raw[:1]) != b'"':
        raise InvalidRequest(f"{where} must be a string, not {shown(url)}", param=where)
    if b"\\" in bytes(raw):
        return memoryview(decode(TEXT, url, where).encode("utf-8", "replace"))
    return raw[1:-1]


def _utf8(url: memoryview) -> str:
    return bytes(url).decode("utf-8", "replace")


def _output_limit(fields: dict[str, Raw]) -> int | None:
    given = [_whole_number(fields, name, LARGEST_OUTPUT_TOKENS) for name in ("max_completion_tokens", "max_tokens")]
    return next((limit for limit in given if limit is not None), None)


def _whole_number(fields: dict[str, Raw], name: str, largest: int) -> int | None:
    value: int | None = _member(fields, name, _NUMBER)
    if value is not None and not 1 <= value <= largest:
        raise InvalidRequest(f"{name}: {value} is not between 1 and {largest}", param=name)
    return value


def _holds_any(fields: dict[str, Raw], name: str) -> bool:
    """Return whether a list is present and not empty; clients write null and [] for an empty list."""
    return name in fields and not holds_nothing(fields[name])


def _is_none(fields: dict[str, Raw], name: str) -> bool:
    """Return whether a choice of tools forbids all of them."""
    return name in fields and bytes(memoryview(fields[name])) == b'"none"'


def _asked(fields: dict[str, Raw]) -> _ToolsAndNeeds:
    lists_tools, lists_functions = _holds_any(fields, "tools"), _holds_any(fields, "functions")
    may_call = (lists_tools and not _is_none(fields, "tool_choice")) or (
        lists_functions and not _is_none(fields, "function_call")
    )
    return _ToolsAndNeeds(lists_tools or lists_functions, may_call, _needs(fields))


def _needs(fields: dict[str, Raw]) -> int:
    """Return what the other top-level members need of a candidate, as bits of `gateway.routing.capabilities`."""
    needs = 0
    if _holds_any(fields, "response_format"):
        format = decode(_ANY, fields["response_format"], "response_format")
        kind = format.get("type") if isinstance(format, dict) else format
        needs |= FORMATS.get(kind, JSON_SCHEMA) if isinstance(kind, str) else 0
    if _holds_any(fields, "logprobs") or (
        _holds_any(fields, "top_logprobs") and bytes(memoryview(fields["top_logprobs"])) != b"0"
    ):
        needs |= LOGPROBS
    if _holds_any(fields, "stop"):
        needs |= STOP
    if _holds_any(fields, "logit_bias"):
        needs |= LOGIT_BIAS
    return needs


def _may_write_cache(fields: dict[str, Raw]) -> bool:
    """Return whether the request, or one of its tools, may ask for the provider's prompt cache."""
    if "cache_control" in fields or not CACHE_MEMBERS.isdisjoint(fields):
        return True
    return "tools" in fields and any(word in bytes(memoryview(fields["tools"])) for word in (b"cache_control", b"\\u"))


def _member(fields: dict[str, Raw], name: str, decoder: msgspec.json.Decoder[Any]) -> Any:
    return decode(decoder, fields[name], name) if name in fields else None


def _refuse_other_tools(tools: Raw) -> None:
    """Refuse tools that run at the provider: their calls and what they find are charged apart."""
    try:
        kinds = [tool.type for tool in TOOLS.decode(tools) or ()]
    except (msgspec.DecodeError, RecursionError):  # of another shape: the provider says what is wrong with them
        return
    for place, kind in enumerate(kinds):
        if kind not in OWN_TOOLS:
            where = f"tools[{place}].type"
            what = f"{where}: {kind[:40]!r} runs at the provider and is charged apart, which no budget could cover"
            raise InvalidRequest(f"{what}; accepted: {', '.join(OWN_TOOLS)}", param=where)


def refuse_charged_apart(fields: Mapping[str, Raw]) -> None:
    """Refuse members that would make a provider charge more than tokens at list price: no estimate covers them.

    A reservation must cover what can be billed, so such members are refused by name, not passed on or dropped. Members
    that are null, false or empty ask for nothing. Raises InvalidRequest.
    """
    for name, why in CHARGED_APART.items():
        if name in fields and decode(_ANY, fields[name], name) not in (None, False, [], ""):
            raise InvalidRequest(f"{name}: {why}, which no budget could cover", param=name)
    if "tools" in fields:
        _refuse_other_tools(fields["tools"])
    if "service_tier" in fields and decode(_ANY, fields["service_tier"], "service_tier") not in LISTED_TIERS:
        tier = shown(fields["service_tier"])
        what = f"service_tier: {tier} is not charged at list price; leave it out, or ask for auto, default or flex"
        raise InvalidRequest(what, param="service_tier")
    if "modalities" in fields and decode(_ANY, fields["modalities"], "modalities") not in (None, [], ["text"]):
        what = f"modalities: {shown(fields['modalities'])}: only text is priced"
        raise InvalidRequest(what, param="modalities")
