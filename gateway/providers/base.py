"""What a provider is: it takes a finished body and gives an exchange, or fails before the first byte."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Exchange(Protocol):
    """A reply under way. Its first bytes have come; the rest may still break off."""

    async def read(self) -> bytes:
        """The bytes that have come since the last call, the first ones included; empty at the reply's end.

        Raises ProviderError when the reply breaks off or a time limit passes.
        """
        ...

    def offer(self, take: Callable[[bytes], bool]) -> None:
        """From here, while a `read` waits, bytes are offered to `take` as they come: those that it takes are done with,
        and the wait goes on. It must not raise.
        """
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing is left to `read`: the reply came to its end."""
        ...

    def close(self) -> None:
        """End the exchange now: when the reply is not at its end, the call to the provider is cut. Safe to repeat."""
        ...


class Provider(Protocol):
    """An outbound HTTP API that serves candidates."""

    async def send(self, body: bytes, request_id: str) -> Exchange:
        """Send a chat completion; returns once the first bytes of a 2xx reply are there.

        Raises ProviderError otherwise; then nothing was spent, and the next choice may be tried.
        """
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider is and how long to wait for it. Times in seconds.

    `kind` is a name in `gateway.providers.KINDS`. `first_byte_s` counts from sending to the reply's first byte,
    `idle_s` between bytes, `total_s` over all: waiting for one of the `max_connections`, connecting, and a slow
    reader.
    """

    name: str
    base_url: str
    api_key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    connect_s: float = 5.0
    first_byte_s: float = 60.0
    idle_s: float = 60.0
    total_s: float = 600.0
    max_connections: int = 512
    kind: str = "openai"
