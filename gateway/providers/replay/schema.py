"""The part of OpenAI's chat completions that the pool reads and writes."""

from __future__ import annotations

from typing import Any

import msgspec


class ReplayImageUrl(msgspec.Struct):
    url: str = ""


class ReplayPart(msgspec.Struct):
    type: str = "text"
    text: str | None = None
    image_url: ReplayImageUrl | str | None = None


class ReplayMessage(msgspec.Struct):
    role: str
    content: str | list[ReplayPart] | None = None

    def text(self) -> str:
        """Return the text parts, one per line."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "\n".join(part.text for part in self.content if part.text is not None)

    def images(self) -> list[str]:
        """Return the addresses of the images: data URLs or remote URLs."""
        if self.content is None or isinstance(self.content, str):
            return []
        urls = (part.image_url for part in self.content if part.image_url is not None)
        return [url if isinstance(url, str) else url.url for url in urls]


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class ReplayRequest(msgspec.Struct):
    model: str
    messages: list[ReplayMessage]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = 1
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None

    def limit(self) -> int | None:
        """Return the output tokens allowed per choice: the smaller value if both names are used."""
        limits = [value for value in (self.max_tokens, self.max_completion_tokens) if value is not None]
        return min(limits, default=None)

    def forced_tool(self) -> str | None:
        """Return the function that the answer must call, or None."""
        if not self.tools:
            return None
        if isinstance(self.tool_choice, dict):
            return str(self.tool_choice.get("function", {}).get("name", ""))
        if self.tool_choice == "required":
            return str(self.tools[0].get("function", {}).get("name", ""))
        return None

    def wants_json(self) -> bool:
        """Return whether the answer must be a JSON object."""
        return bool(self.response_format) and (self.response_format or {}).get("type") != "text"


class ReplayUsage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Function(msgspec.Struct, omit_defaults=True):
    name: str | None = None
    arguments: str = ""


class ToolCall(msgspec.Struct, omit_defaults=True):
    function: Function
    index: int | None = None
    id: str | None = None
    type: str | None = None


class ReplayMessageOut(msgspec.Struct):
    """A whole message of a reply."""

    content: str | None
    role: str = "assistant"
    refusal: None = None
    tool_calls: list[ToolCall] | msgspec.UnsetType = msgspec.UNSET


class ReplayChoice(msgspec.Struct):
    index: int
    message: ReplayMessageOut
    finish_reason: str
    logprobs: None = None


class Completion(msgspec.Struct):
    id: str
    created: int
    model: str
    choices: list[ReplayChoice]
    usage: ReplayUsage | msgspec.UnsetType = msgspec.UNSET
    object: str = "chat.completion"


class Delta(msgspec.Struct, omit_defaults=True):
    role: str | None = None
    content: str | None = None
    tool_calls: list[ToolCall] | None = None


class ChunkChoice(msgspec.Struct):
    index: int
    delta: Delta
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    """One event of a stream. If usage was asked for, it is null in all events but the last; otherwise `usage` is
    absent.
    """

    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: ReplayUsage | msgspec.UnsetType | None = msgspec.UNSET
    object: str = "chat.completion.chunk"


decode_request = msgspec.json.Decoder(ReplayRequest).decode
encode = msgspec.json.Encoder().encode


def event(chunk: Chunk) -> bytes:
    """Return the chunk as one server-sent event."""
    return b"data: " + encode(chunk) + b"\n\n"


def error_body(message: str, type_: str, code: str | None, param: str | None = None) -> bytes:
    """Return an error body in OpenAI's format."""
    return encode({"error": {"message": message, "type": type_, "code": code, "param": param}})
