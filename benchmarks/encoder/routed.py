"""The part of the encoder benchmark with a gateway: requests/s of queries never seen before, and of the same again."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.common.load_client import Load, drive
from benchmarks.common.processes import Pinned, free_port, pinned_to
from benchmarks.encoder.report import Row, row
from benchmarks.encoder.timing import picture, text
from benchmarks.overhead.gateway import write_config
from benchmarks.overhead.report import percentile
from benchmarks.overhead.workloads import KEY

ROOT = Path(__file__).resolve().parents[2]
CONNECTIONS = (1, 8)
UNSEEN = {"text": 48, "image": 16}
"""The number of requests of a kind in a cell: each is sent once while the gateway has never seen it, then again."""
AGAIN = 10
WORDS = {"text": 150, "image": 12}
PART = "Routed requests, `loupe serve` on one core, bundled encoder (text: 150 words; image: that JPEG and 12 words)"
_FIGURES = ("requests", "p50", "CPU")
_SECONDS_AT_MOST = 60.0


def routed(folder: Path, rounds: int, seed: int) -> tuple[list[Row], list[str]]:
    """Return rows of requests/s and latency, and a line for each kind of request that was answered but not routed."""
    cores = sorted(os.sched_getaffinity(0))
    values: dict[tuple[str, str], list[float]] = {}
    with ExitStack() as stack:
        stack.enter_context(pinned_to(cores[0]))
        provider = Pinned(
            [sys.executable, "-m", "benchmarks.common.canned_provider"], cores[0], folder / "provider", cwd=ROOT
        )
        stack.callback(provider.end)
        port = free_port()
        config = write_config(folder, port, provider.printed_port())
        with config.open("a", encoding="utf-8") as file:
            file.write("encoder:\n  timeout_ms: 60000\n")  # so that slow encodings are measured, not declined
        serve = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config)]
        gateway = Pinned(serve, cores[-1], folder / "gateway.log", cwd=ROOT)
        stack.callback(gateway.end)
        gateway.wait_until_ready(f"http://127.0.0.1:{port}/readyz")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            subject = _Subject(runner, port, gateway)
            subject.drive(_requests("text", seed - 1), 1)
            for number in range(rounds):
                for names, value in _round(subject, seed + 1_000_000 * number).items():
                    values.setdefault(names, []).append(value)
        gateway.end()  # the gateway then writes the waiting log lines
        reasons = _reasons(folder / "requests.jsonl")
    rows = [row((PART, *names), _unit(names[1]), taken) for names, taken in values.items()]
    wrong = {reason: count for reason, count in reasons.items() if reason != ("routed", "ok")}
    return rows, [f"{count} requests ended as {reason}, not routed" for reason, count in wrong.items()]


@dataclass(frozen=True, slots=True)
class _Subject:
    """The gateway under load."""

    runner: asyncio.Runner
    port: int
    process: Pinned

    def drive(self, requests: Sequence[bytes], connections: int) -> tuple[float, float, float]:
        """Send each request once. Returns requests/s, median latency in ms, the gateway's processor ms per request."""
        used = self.process.cpu_seconds()
        load = Load(requests, b"}", connections, len(requests), _SECONDS_AT_MOST)
        measured = self.runner.run(drive(self.port, load))
        used = self.process.cpu_seconds() - used
        return measured.per_second, percentile(measured.latencies, 50) * 1e3, used / len(requests) * 1e3


def _round(subject: _Subject, seed: int) -> dict[tuple[str, str], float]:
    found = {}
    for connections in CONNECTIONS:
        for kind in UNSEEN:
            requests = _requests(kind, seed + 10_000 * connections)
            for state, sent in (("cold", requests), ("warm", requests * AGAIN)):
                names = [(f"{kind}, {connections} at once", f"{state} {figure}") for figure in _FIGURES]
                found.update(zip(names, subject.drive(sent, connections), strict=True))
    return found


def _unit(what: str) -> str:
    return "1/s" if what.endswith(_FIGURES[0]) else "ms"


def _requests(kind: str, seed: int) -> list[bytes]:
    return [_request(kind, seed + number) for number in range(UNSEEN[kind])]


def _request(kind: str, seed: int) -> bytes:
    said = f"{text(seed, WORDS[kind])} {seed}"
    content: str | list[dict[str, Any]] = said
    if kind == "image":
        url = "data:image/jpeg;base64," + base64.b64encode(picture(seed, "JPEG")).decode()
        content = [{"type": "text", "text": said}, {"type": "image_url", "image_url": {"url": url}}]
    fields = {"model": "auto", "max_tokens": 256, "messages": [{"role": "user", "content": content}]}
    body = json.dumps(fields, separators=(",", ":")).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        f"authorization: Bearer {KEY}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _reasons(log: Path) -> Counter[tuple[str, str]]:
    """Return the number of requests for each (reason, outcome) of the request log."""
    lines = (json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())
    return Counter((line["reason"], line["outcome"]) for line in lines)
