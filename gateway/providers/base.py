"""The provider interface: a provider takes a finished request body and returns an exchange, or fails before the first
byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

SHORTEST_SECRET = 8
"""Characters; a shorter text is no key, and hiding it would hide ordinary words."""


class Exchange(Protocol):
    """A reply that is being received. Its first bytes have arrived; the rest may still break off."""

    async def read(self) -> bytes:
        """Return the bytes that arrived since the last call, including the first ones; empty at the reply's end.

        Raises ProviderError when the reply breaks off or a time limit passes.
        """
        ...

    def offer(self, take: Callable[[bytes], bool]) -> None:
        """From now on, while a `read` waits, offer bytes to `take` as they arrive.

        When `take` returns True, it has consumed the bytes and the wait goes on. `take` must not raise.
        """
        ...

    @property
    def ended(self) -> bool:
        """True when the reply has come to its end and nothing is left to `read`."""
        ...

    def close(self) -> None:
        """End the exchange now. A reply that is not at its end is cut off. Safe to call repeatedly."""
        ...


class Provider(Protocol):
    """An outbound HTTP API that serves candidates."""

    async def send(self, body: bytes, request_id: str, *, streamed: bool = True) -> Exchange:
        """Send a chat completion; return once the first bytes of a 2xx reply have arrived.

        A reply that is not `streamed` has all of `total_s` until its first byte, because providers send that byte only
        when the whole reply is ready. The request is sent at most once. Raises ProviderError otherwise; with `reached`,
        the provider may have worked on the request.
        """
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a provider and how long to wait for its replies. Times in seconds.

    `kind` is a name in `gateway.providers.KINDS`. `proxy` is the URL of an HTTP proxy, or `none`; without it the
    environment decides (HTTPS_PROXY, HTTP_PROXY, NO_PROXY).

    `first_byte_s` counts from sending to a stream's first byte, and `idle_s` between bytes. `total_s` counts over
    everything: waiting for one of the `max_connections`, connecting, and a client that reads slowly.
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
    proxy: str | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that must not be repeated: the key and the values of headers, also without their scheme."""
        values = [text.strip() for text in (self.api_key or "", *(value for _, value in self.headers))]
        parts = [part for text in values for part in (text, text.rpartition(" ")[2])]
        return tuple(dict.fromkeys(part for part in parts if len(part) >= SHORTEST_SECRET))
