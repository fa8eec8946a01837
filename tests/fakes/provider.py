"""A provider that answers as a test scripted it, and turns the clock while it does."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.errors import Fault, ProviderError

from .clock import HandClock


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """What comes of one call.

    Attributes:
        chunks: what each read gives; behind them the reply ends, or `breaks` is raised.
        refuses: raised by `send`, instead of a reply.
        first_s: seconds until `send` returns or raises.
        read_s: seconds that each read takes.
        during: awaited while `send` waits.
    """

    chunks: tuple[bytes, ...] = ()
    breaks: BaseException | None = None
    refuses: BaseException | None = None
    first_s: float = 0.0
    read_s: float = 0.0
    during: Callable[[], Awaitable[None]] | None = None


class ScriptedExchange:
    """Implements `gateway.providers.base.Exchange`."""

    def __init__(self, reply: ScriptedReply, clock: HandClock) -> None:
        self._left = list(reply.chunks)
        self._reply = reply
        self._clock = clock
        self.is_closed = False

    async def read(self) -> bytes:
        self._clock.turn(self._reply.read_s)
        if self._left:
            return self._left.pop(0)
        if self._reply.breaks is not None:
            raise self._reply.breaks
        return b""

    def offer(self, take: Callable[[bytes], bool]) -> None:
        """Nothing is offered: every byte is read."""

    @property
    def ended(self) -> bool:
        return not self._left and self._reply.breaks is None

    def close(self) -> None:
        self.is_closed = True


class ScriptedProvider:
    """Implements `gateway.providers.base.Provider`: each call takes the next of `replies`.

    Attributes:
        bodies: the bodies that were sent, read as JSON.
        exchanges: the replies under way and over.
    """

    def __init__(self, clock: HandClock, replies: Sequence[ScriptedReply]) -> None:
        self._clock = clock
        self.replies = list(replies)
        self.bodies: list[dict[str, Any]] = []
        self.exchanges: list[ScriptedExchange] = []

    async def send(self, body: bytes, request_id: str, *, streamed: bool = True) -> ScriptedExchange:
        self.bodies.append(json.loads(body))
        assert self.replies, "a call that the test does not expect"
        reply = self.replies.pop(0)
        if reply.during is not None:
            await reply.during()
        self._clock.turn(reply.first_s)
        if reply.refuses is not None:
            raise reply.refuses
        self.exchanges.append(ScriptedExchange(reply, self._clock))
        return self.exchanges[-1]

    async def close(self) -> None:
        """There is nothing to close."""

    @property
    def asked(self) -> list[str]:
        """The models that were asked, in order."""
        return [body["model"] for body in self.bodies]


def whole_reply(text: str = "Hello", inputs: int = 10, outputs: int = 5, **timing: float) -> ScriptedReply:
    """A complete reply that reports this usage."""
    usage = {"prompt_tokens": inputs, "completion_tokens": outputs, "total_tokens": inputs + outputs}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return ScriptedReply((json.dumps({"model": "served", "choices": [choice], "usage": usage}).encode(),), **timing)


def refusal(
    reason: str = "http_503",
    *,
    fault: Fault = "overloaded",
    status: int = 503,
    first_s: float = 0,
    **said: Any,
) -> ScriptedReply:
    """A call that fails before its first byte. `said`: further attributes of the error."""
    error = ProviderError(f"provider: {reason}", reason=reason, status=status, fault=fault, **said)
    return ScriptedReply(refuses=error, first_s=first_s)
