"""The clients: a number of connections that send the mixed requests to the gateway and judge every reply."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.providers.requests import Mixed

KEY = "sk-unlike-providers"
SLOWEST_S = 60.0


@dataclass(frozen=True)
class Answer:
    """What one request came to. `fault` says what is wrong with a reply of status 200; empty if nothing is."""

    request: Mixed
    status: int
    request_id: str
    candidate: str
    reason: str
    began: float
    ended: float
    fault: str
    body: str

    @property
    def is_served(self) -> bool:
        return self.status == 200 and not self.fault


async def send_all(port: int, requests: Sequence[Mixed], clients: int, seconds: float) -> list[Answer]:
    """Send the requests, so many at a time, until all are sent or the time is over."""
    left = iter(requests)
    until = time.monotonic() + seconds
    answers: list[Answer] = []

    async def client() -> None:
        link = _Link(port)
        for request in left:
            if time.monotonic() > until:
                break
            answers.append(await link.ask(request))
        link.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


class _Link:
    """One client's connection, made anew when the gateway closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def ask(self, request: Mixed) -> Answer:
        began = time.monotonic()
        try:
            async with asyncio.timeout(SLOWEST_S):
                status, headers, body = await self._exchange(_wire(request))
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.close()
            return Answer(request, 0, "", "", "", began, time.monotonic(), repr(error), "")
        return Answer(
            request,
            status,
            headers.get("x-request-id", ""),
            headers.get("x-route-candidate", ""),
            headers.get("x-route-reason", ""),
            began,
            time.monotonic(),
            _fault(request, body) if status == 200 else "",
            "" if status == 200 else body.decode("utf-8", "replace")[:600],
        )

    async def _exchange(self, wire: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=2**22)
        reader, writer = self._streams
        writer.write(wire)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.split(":", 1) for line in lines[1:] if ":" in line)
        headers = {name.lower(): value.strip() for name, value in pairs}
        if "content-length" in headers:
            return int(lines[0][9:12]), headers, await reader.readexactly(int(headers["content-length"]))
        parts = []
        while size := int(await reader.readline(), 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return int(lines[0][9:12]), headers, b"".join(parts)


def _wire(request: Mixed) -> bytes:
    body = request.encoded
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: 127.0.0.1",
        f"authorization: Bearer {KEY}",
        "content-type: application/json",
        f"x-quality-weight: {request.weight}",
        f"content-length: {len(body)}",
    ]
    lines += [f"x-budget: {request.cap_usd}"] if request.cap_usd is not None else []
    lines += [f"x-candidates: {','.join(request.allowed)}"] if request.allowed is not None else []
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _fault(request: Mixed, body: bytes) -> str:
    """Return what is wrong with a reply: no JSON, an error, no end, or too few choices."""
    try:
        payloads = _payloads(body) if request.body.get("stream") else [json.loads(body)]
    except ValueError as error:
        return f"not JSON: {error}"
    if request.body.get("stream") and not body.endswith(b"data: [DONE]\n\n"):
        return f"a stream without [DONE]: {body[-300:]!r}"
    if any("error" in payload for payload in payloads):
        return f"an error in the reply: {body[-300:]!r}"
    ends = {c["index"] for payload in payloads for c in payload.get("choices", ()) if c.get("finish_reason")}
    wanted = request.body.get("n") or 1
    return "" if len(ends) == wanted else f"{len(ends)} finished choices of {wanted}"


def _payloads(body: bytes) -> list[Any]:
    lines = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ") and line != b"data: [DONE]"]
    return [json.loads(line) for line in lines]
