"""Let many clients race for a budget that pays for an exact number of requests: exactly this number must be answered.

All processes are real: worker processes of the gateway on one port, one ledger, a canned provider, clients over HTTP.
Every request costs exactly its reservation (input is free, and the provider bills the output limit), so a refusal
before the budget is spent is false, whatever is in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import platform
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common.canned_provider import COMPLETION_TOKENS
from benchmarks.common.processes import Pinned, free_port
from benchmarks.common.result import command_of, write_json
from tests.gateway.stores.redis.redis_server import RedisServer

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-race"
USD_PER_MTOK = 10.0
COST = round(USD_PER_MTOK * 1e9) * COMPLETION_TOKENS // 1_000_000
"""The nanodollars of every request."""
BODY = json.dumps(
    {"model": "canned", "max_tokens": COMPLETION_TOKENS, "messages": [{"role": "user", "content": "How many?"}]}
).encode()


def main(argv: Sequence[str] | None = None) -> int:
    """Race, print, and write the result if asked. Returns 1 when a law does not hold."""
    arguments = _arguments(argv)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        provider = stack.enter_context(_provider(Path(folder)))
        url = stack.enter_context(_redis(Path(folder))) if arguments.store == "redis" else ""
        port = stack.enter_context(_gateway(Path(folder), arguments, provider, url))
        statuses, seconds = asyncio.run(_race(port, arguments.clients, arguments.requests))
        window = _settled_window(port)
        sent = sum(json.loads(_get(provider, "/counts")).values())
    spent, held, limit = (round(window[f"{name}_usd"] * 1e9) for name in ("spent", "held", "limit"))
    answered, refused = statuses[200], statuses[429]
    payable = min(arguments.payable, arguments.requests)
    result = {
        "command": command_of("ledger.race", argv),
        "versions": {"python": platform.python_version(), "machine": platform.machine()},
        "seeds": [],
        "store": arguments.store,
        "workers": arguments.workers,
        "clients": arguments.clients,
        "requests": arguments.requests,
        "payable": payable,
        "answered": answered,
        "refused": refused,
        "errors": sum(statuses.values()) - answered - refused,
        "overspend_usd": max(spent - limit, 0) / 1e9,
        "false_refusals": max(payable - answered, 0),
        "holds_after_usd": held / 1e9,
        "spent_usd": spent / 1e9,
        "sent_to_the_provider": sent,
        "requests_per_second": round(arguments.requests / seconds, 1),
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(result, indent=2))
    write_json(arguments.json, result)
    right = spent == answered * COST == sent * COST and answered == payable and held == 0 and not result["errors"]
    print("the laws hold" if right else "THE LAWS DO NOT HOLD")
    return 0 if right else 1


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger.race", description=__doc__)
    parser.add_argument("--store", choices=("sqlite", "redis"), default="sqlite")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--payable", type=int, default=4_000, help="how many of them the budget pays for")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(argv)


async def _race(port: int, clients: int, requests: int) -> tuple[Counter[int], float]:
    """Send all requests. Returns the statuses of all replies (0: no reply), and the seconds that the race took."""
    statuses: Counter[int] = Counter()
    left = iter(range(requests))
    began = time.monotonic()
    async with asyncio.timeout(600):
        await asyncio.gather(*(_client(port, left, statuses) for _ in range(clients)))
    return statuses, time.monotonic() - began


async def _client(port: int, left: Iterator[int], statuses: Counter[int]) -> None:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
    request = head.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in left:
        try:
            writer.write(request)
            reply = await reader.readuntil(b"\r\n\r\n")
            length = int(reply.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            statuses[int(reply[9:12])] += 1
        except (OSError, asyncio.IncompleteReadError, ValueError):
            statuses[0] += 1
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    await writer.wait_closed()


def _settled_window(port: int) -> dict[str, Any]:
    """Return the tenant's window when nothing is reserved, or after 10 s, even if money is still reserved."""
    deadline = time.monotonic() + 10
    while True:
        [window] = json.loads(_get(port, "/v1/usage"))["windows"]
        if not window["held_usd"] or time.monotonic() > deadline:
            return dict(window)
        time.sleep(0.1)


def _get(port: int, path: str) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        found: bytes = reply.read()
    return found


@contextmanager
def _provider(folder: Path) -> Iterator[int]:
    with _process(["benchmarks.common.canned_provider"], folder / "provider.log") as process:
        yield process.printed_port()


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    server = RedisServer(folder / "redis", sync="everysec")
    try:
        yield server.url
    finally:
        server.stop()


@contextmanager
def _gateway(folder: Path, arguments: argparse.Namespace, provider: int, redis_url: str) -> Iterator[int]:
    port, log = free_port(), folder / "gateway.log"
    tenant = {
        "name": "race",
        "keys": [{"sha256": hashlib.sha256(KEY.encode()).hexdigest()}],
        "budget": {"usd": arguments.payable * COST / 1e9},
    }
    config = {
        "server": {"port": port, "workers": arguments.workers},
        "store": {"kind": arguments.store, "path": str(folder / "loupe.sqlite"), "redis_limit_ms": 5_000},
        "log": {"path": str(folder / "requests.jsonl")},
        "providers": {"canned": {"base_url": f"http://127.0.0.1:{provider}/v1"}},
        "candidates": [
            {"name": "canned", "provider": "canned", "input_usd_per_mtok": 0, "output_usd_per_mtok": USD_PER_MTOK}
        ],
        "tenants": [tenant],
    }
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    with _process(["gateway.cli", "serve", "--config", str(path)], log, LOUPE_REDIS_URL=redis_url) as process:
        process.wait_until(lambda: log.read_text().count("Application startup complete") >= arguments.workers)
        yield port


@contextmanager
def _process(module: list[str], log: Path, **environment: str) -> Iterator[Pinned]:
    process = Pinned([sys.executable, "-m", *module], None, log, cwd=ROOT, environment=environment)
    try:
        yield process
    finally:
        process.end()


if __name__ == "__main__":
    sys.exit(main())
