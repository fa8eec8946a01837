"""What each provider replies: the words, the count that it bills, and the shape in which it tells the count.

Sources: https://platform.openai.com/docs/api-reference/chat/streaming (role first, usage in a last chunk),
https://learn.microsoft.com/azure/ai-services/openai/concepts/content-streaming (an empty first chunk),
https://openrouter.ai/docs/api-reference/streaming (comments; usage.cost), https://console.groq.com/docs/api-reference
(x_groq.usage), https://platform.moonshot.ai/docs/api/chat (choices[0].usage), https://ai.google.dev/gemini-api/docs/openai
(thoughts are part of the total alone; agentgateway/agentgateway issue 1464: no completion_tokens).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.providers.asked import Asked
from benchmarks.providers.families import Family
from benchmarks.providers.prose import ANSWERS, CALL, OBJECT, pieces_of

CALL_TOKENS = CALL[1] + 8
"""A call's arguments, and its name and marks."""


@dataclass(frozen=True)
class Reply:
    """One reply of `choices` equal choices. `words` are the pieces of a text; a call of a tool has none."""

    family: Family
    asked: Asked
    words: tuple[str, ...]
    calls: bool
    finish: str
    inputs: int
    cached: int
    thoughts: int

    @property
    def said(self) -> int:
        """The tokens of all choices, without thoughts."""
        return (CALL_TOKENS if self.calls else len(self.words)) * self.asked.choices

    @property
    def bill(self) -> int:
        """The nanodollars that the provider charges."""
        return self.family.bill(self.inputs, self.said + self.thoughts, self.cached)

    @property
    def tells_usage(self) -> bool:
        """True if the reply carries its count."""
        if self.family.usage == "none":
            return False
        asked = (self.asked.body.get("stream_options") or {}).get("include_usage")
        return not self.asked.streams or bool(asked) or self.family.usage in ("groq", "moonshot", "gemini")

    @property
    def usage(self) -> dict[str, Any]:
        """The count in the provider's own shape."""
        kind, said = self.family.usage, self.said
        if kind == "gemini":
            found: dict[str, Any] = {"prompt_tokens": self.inputs, "total_tokens": self.inputs + said + self.thoughts}
            return {**found, "completion_tokens": said} if said else found
        outputs = said + self.thoughts
        usage: dict[str, Any] = {"prompt_tokens": self.inputs, "completion_tokens": outputs}
        usage["total_tokens"] = self.inputs + outputs
        if kind == "reasoning":
            usage["completion_tokens_details"] = {"reasoning_tokens": self.thoughts}
        if kind == "openrouter":
            usage["cost"] = self.bill / 1e9
        if self.cached and kind == "moonshot":
            usage["cached_tokens"] = self.cached
        elif self.cached:
            usage["prompt_tokens_details"] = {"cached_tokens": self.cached}
        return usage

    def whole(self) -> bytes:
        """Return the body of a reply that is not streamed."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.words)}
        if self.calls:
            message = {"role": "assistant", "content": None, "tool_calls": [_call()]}
        elif not self.words:
            del message["content"]
        choices = [
            {"index": n, "message": message, "finish_reason": self.finish, "logprobs": None}
            for n in range(self.asked.choices)
        ]
        body = {**self._name("chat.completion"), "choices": choices}
        return json.dumps({**body, "usage": self.usage} if self.tells_usage else body).encode()

    def events(self) -> Iterator[bytes]:
        """Yield the events of a stream."""
        kind, habit = self.family.usage, self.family.habit
        if habit == "comments_first":
            yield from (b": OPENROUTER PROCESSING\n\n",) * 3
        if habit == "empty_first":
            filtered = [{"prompt_index": 0, "content_filter_results": {"violence": {"filtered": False}}}]
            yield _event({**self._name(""), "choices": [], "prompt_filter_results": filtered})
        for index in range(self.asked.choices):
            if habit != "plain":
                yield self._chunk(index, {"role": "assistant", "content": ""})
            if self.calls:
                yield self._chunk(index, {"tool_calls": [{**_call(), "index": 0}]})
            for word in self.words:
                yield self._chunk(index, {"content": word})
            last: dict[str, Any] = {"index": index, "delta": {}, "finish_reason": self.finish}
            is_end = index == self.asked.choices - 1
            if kind == "moonshot" and is_end:
                last["usage"] = self.usage
            chunk = {**self._name("chat.completion.chunk"), "choices": [last]}
            yield _event({**chunk, "x_groq": {"usage": self.usage}} if kind == "groq" and is_end else chunk)
        if self.tells_usage and kind not in ("groq", "moonshot"):
            yield _event({**self._name("chat.completion.chunk"), "choices": [], "usage": self.usage})
        yield b"data: [DONE]\n\n"

    def _chunk(self, index: int, delta: dict[str, Any]) -> bytes:
        choice = {"index": index, "delta": delta, "finish_reason": None}
        return _event({**self._name("chat.completion.chunk"), "choices": [choice]})

    def _name(self, kind: str) -> dict[str, Any]:
        return {"id": "chatcmpl-unlike", "object": kind, "created": 1_767_225_600, "model": self.family.model}


def reply_to(family: Family, asked: Asked, draw: random.Random) -> Reply:
    """Return the provider's reply to a request that it does not refuse."""
    calls = asked.calls_tools and (asked.body.get("tool_choice") == "required" or draw.random() < 0.6)
    limit = asked.limit or family.most_output
    words: list[str] = []
    if not calls:
        told = [OBJECT] if asked.format else draw.sample(ANSWERS, draw.randint(1, 6))
        for number, (sentence, tokens) in enumerate(told):
            words += pieces_of(f"\n{sentence}" if number else sentence, tokens)
    thoughts = 0
    if family.thinks:
        thoughts = min(draw.randint(32, 300), limit // 2)
        if family.usage == "gemini" and asked.limit and not calls and draw.random() < 0.05:
            thoughts, words = limit, []
    finish = "tool_calls" if calls else "stop"
    if len(words) > limit - thoughts or thoughts == limit:
        words, finish = words[: limit - thoughts], "length"
    inputs = family.input_tokens(asked)
    cached = inputs // 2 if family.cached_usd is not None and draw.random() < 0.3 else 0
    return Reply(family, asked, tuple(words), calls, finish, inputs, cached, thoughts * asked.choices)


def _call() -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": CALL[0]}}


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % json.dumps(payload).encode()
