"""A client that speaks HTTP by hand, so that it can hang up at any byte."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any, Self

from tests.e2e.harness.site import KEY, Site


class RawClient:
    """One connection, one request. Leaving the block closes it in an orderly way."""

    def __init__(self, site: Site) -> None:
        self._socket = socket.create_connection((site.host, site.port), timeout=60)
        self.received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, body: dict[str, Any], *, sent: int | None = None, **headers: str) -> None:
        """POST it to /v1/chat/completions, or only the first `sent` bytes of the body."""
        data = json.dumps(body).encode()
        lines = [
            "POST /v1/chat/completions HTTP/1.1",
            "Host: loupe",
            f"Authorization: Bearer {KEY}",
            "Content-Type: application/json",
            f"Content-Length: {len(data)}",
            *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        ]
        self._socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data[:sent])

    def read_until(self, mark: bytes) -> bytes:
        """Everything received, once it holds the mark."""
        return self.read_times(mark, 1)

    def read_times(self, mark: bytes, times: int) -> bytes:
        """Everything received, once the mark came so many times."""
        while self.received.count(mark) < times:
            data = self._socket.recv(65_536)
            assert data, f"closed before {mark!r}: {self.received!r}"
            self.received += data
        return self.received

    def read_to_end(self) -> bytes:
        """Everything, until the server closes."""
        while data := self._socket.recv(65_536):
            self.received += data
        return self.received

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        """Hang up as a crashed client does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()
