"""A query: what routing needs to know of a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gateway.billing.text_tokens import TextShape


@dataclass(frozen=True, slots=True)
class QueryImage:
    """An image for pricing: its pixels and the requested detail (`auto`, `low`, `high`)."""

    width: int
    height: int
    detail: str
    key: bytes


class QueryMedia(NamedTuple):
    """The sound and the PDF files of a request, for pricing.

    Attributes:
        seconds: seconds of sound to expect, rounded up; `most_seconds` is a bound.
        pages: pages of all files.
        page_text_bytes: a bound on the bytes of text on all pages together.
    """

    seconds: int = 0
    most_seconds: int = 0
    pages: int = 0
    page_text_bytes: int = 0


class Query(NamedTuple):
    """A request's text, images and shape.

    Attributes:
        text: the text to encode: the last user turn's text.
        prompt_bytes: UTF-8 bytes of everything that becomes text tokens (messages, tools, schemas), normalised to NFC
            if that is longer.
        messages: the number of messages; each adds a few tokens of its own.
        images: every image of the conversation, in order.
        choices: `n`.
        max_output_tokens: the client's own limit, or None.
        writes_cache: True if it asks for the provider's prompt cache (`cache_control`), for which some charge.
        shape: the characters that the text tokens are made of, if known.
        uses_tools: True if the reply may call a tool, or the conversation has calls of tools.
        lists_tools: True if tools are listed, though `tool_choice` may forbid calling them: providers bill the list.
        needs: the bits of `gateway.routing.capabilities` that the request needs, besides `images`, `choices` and
            `uses_tools`.
        media: sound and PDF files, if any.
    """

    text: str
    prompt_bytes: int
    messages: int
    images: tuple[QueryImage, ...] = ()
    choices: int = 1
    max_output_tokens: int | None = None
    uses_tools: bool = False
    writes_cache: bool = False
    shape: TextShape | None = None
    lists_tools: bool = False
    needs: int = 0
    media: QueryMedia | None = None
