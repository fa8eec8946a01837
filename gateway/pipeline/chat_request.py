"""A chat completion request as it was received: parsed once, its bytes kept."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from gateway.routing.catalog import Candidate
from gateway.routing.query import Query, QueryImage

Raw = bytes | memoryview
"""A JSON value, exactly as written in the request."""
LIMIT_PARAMETERS = ("max_tokens", "max_completion_tokens")
NOTHING_DROPPED: frozenset[str] = frozenset()
_NOTHING = (b"null", b"false", b"[]", b"{}", b'""')
_DEVELOPER = re.compile(rb'("role"[ \t\r\n]*:[ \t\r\n]*)"developer"')
"""The role as a member: quotes inside a JSON string are escaped, so that no text can look like it."""


@dataclass(frozen=True, slots=True)
class InlineImage:
    """An image that came as a data URL. `payload` is its base64 text, not copied and not decoded until `read`."""

    payload: Raw
    key: bytes

    @property
    def size(self) -> int:
        """Bytes that the image keeps in memory."""
        return len(self.payload)

    def read(self) -> bytes:
        return base64.b64decode(self.payload)


@dataclass(frozen=True, slots=True)
class FetchedBytes:
    """An image that was fetched from a URL."""

    data: bytes
    key: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """An image that is not fetched yet. Its URL is in part `part` of message `message`.

    `encoded` is True if routing encodes the image, and False if routing only prices it.
    """

    url: str
    detail: str
    message: int
    part: int
    encoded: bool

    @property
    def param(self) -> str:
        return f"messages[{self.message}].content[{self.part}].image_url.url"


class ChatRequest(NamedTuple):
    """A request, with everything that routing, pricing and sending need.

    Attributes:
        fields: top-level members, name -> raw JSON value.
        query: what pricing and routing see; complete once `remote` is empty.
        images: the images to encode: the images of the last message that has any.
        remote: images that must be fetched before the query is complete.
        cap: `X-Budget` in nanodollars.
        allowed: `X-Candidates`.
        session: `X-Session-Id` (hashed) and `X-Session-Budget` in nanodollars.
        has_developer: True if a message may have the role `developer`.
    """

    model: str
    fields: Mapping[str, Raw]
    query: Query
    images: tuple[InlineImage | FetchedBytes, ...]
    remote: tuple[RemoteImage, ...]
    streamed: bool
    wants_usage: bool
    cap: int | None
    quality_weight: float | None
    allowed: tuple[str, ...] | None
    session: tuple[str, int] | None = None
    has_developer: bool = False


def inline_image(payload: Raw, width: int, height: int, detail: str) -> tuple[InlineImage, QueryImage]:
    """Return a data URL's image in two forms: one to encode and one to price."""
    key = hashlib.sha256(payload).digest()
    return InlineImage(payload, key), QueryImage(width, height, detail, key)


def body_for(
    request: ChatRequest,
    model: str,
    limit_parameter: str | None,
    output_limit: int | None,
    *,
    reports_usage: bool = True,
    drops: frozenset[str] = NOTHING_DROPPED,
    knows_developer: bool = True,
) -> bytes:
    """Return the request's body for one candidate: all other members remain as the client wrote them.

    Sets `model` and the output limit, as `limit_parameter`, whichever name the client used; without `limit_parameter`
    no limit is sent, without `output_limit` none of ours. Asks for usage on streams, so that the bill is exact, if the
    candidate `reports_usage`. Leaves out the members in `drops`, which the candidate does not take, and writes the role
    `developer` as `system` for a candidate that does not know it.
    """
    fields = dict(request.fields)
    fields["model"] = _json(model)
    for name in LIMIT_PARAMETERS:
        if name != limit_parameter:  # only the effective limit may remain, under the name that this provider obeys
            fields.pop(name, None)
    if not drops.isdisjoint(fields):
        for name in drops:
            fields.pop(name, None)
    if request.has_developer and not knows_developer:
        fields["messages"] = _DEVELOPER.sub(rb'\1"system"', bytes(fields["messages"]))
    if limit_parameter is not None and output_limit is not None:
        fields[limit_parameter] = str(output_limit).encode()
    if not reports_usage:
        fields.pop("stream_options", None)
    elif request.streamed:
        fields["stream_options"] = _with_usage(fields.get("stream_options"))
    parts: list[Raw] = []
    for key, value in fields.items():
        parts += (b"," if parts else b"{", _json(key), b":", value)
    parts.append(b"}")
    return b"".join(parts)


def limit_to_send(request: ChatRequest, candidate: Candidate, output_limit: int) -> int | None:
    """Return the output limit, or None where it is what the candidate would allow anyway.

    Providers check a limit against the context and count it towards rate limits, so that one that changes nothing is
    not sent. Under `X-Budget` it is sent always: a provider whose own limit is higher than what was declared would
    bill past the cap.
    """
    is_needless = (
        candidate.limits_itself
        and request.cap is None
        and request.query.max_output_tokens is None
        and output_limit >= candidate.max_output_tokens
    )
    return None if is_needless else output_limit


def dropped_members(request: ChatRequest, candidate: Candidate) -> list[str]:
    """Return the members that the client set and that the candidate is not sent, in the order of the request.

    Members that are null, false or empty ask for nothing and are not named; nor is one reply, which is the default.
    """
    if candidate.drops.isdisjoint(request.fields):
        return []
    return [name for name, value in request.fields.items() if name in candidate.drops and _asks(name, value)]


def _asks(name: str, value: Raw) -> bool:
    return b"".join(bytes(value[:8]).split()) not in _NOTHING and name != "n"


@lru_cache(1024)
def _json(text: str) -> bytes:
    return json.dumps(text).encode()


def _with_usage(options: Raw | None) -> bytes:
    if options is None:
        return b'{"include_usage": true}'
    given = json.loads(bytes(options))
    return json.dumps({**(given or {}), "include_usage": True}).encode()
