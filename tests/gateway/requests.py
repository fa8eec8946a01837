"""Chat requests, as the parser makes them."""

from __future__ import annotations

import json

from gateway.api.parse import ChatLimits, parse_chat
from gateway.core.chat import ChatRequest
from gateway.core.image_limits import ImageLimits


def a_request(*, streamed: bool = False, wants_usage: bool = False, budget: bytes | None = None) -> ChatRequest:
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "stream": streamed}
    if wants_usage:
        body["stream_options"] = {"include_usage": True}
    headers = {} if budget is None else {b"x-budget": budget}
    return parse_chat(json.dumps(body).encode(), headers, ChatLimits(ImageLimits(), 1))
