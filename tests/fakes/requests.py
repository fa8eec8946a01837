"""Chat requests, as the parser makes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.api.parse.chat import ChatLimits, parse_chat
from gateway.images.data_url import ImageLimits
from gateway.pipeline.chat_request import ChatRequest


def a_request(
    *,
    model: str = "auto",
    content: Any = "hi",
    streamed: bool = False,
    wants_usage: bool = False,
    budget: bytes | None = None,
    headers: Mapping[bytes, bytes] | None = None,
) -> ChatRequest:
    """One message of `content`; `budget` is `X-Budget`, beside other `headers`."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": content}], "stream": streamed}
    if wants_usage:
        body["stream_options"] = {"include_usage": True}
    found = dict(headers or {})
    if budget is not None:
        found[b"x-budget"] = budget
    return parse_chat(json.dumps(body).encode(), found, ChatLimits(ImageLimits(), 1))
