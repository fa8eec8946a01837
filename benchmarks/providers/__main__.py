"""Hold the gateway to its promises before twelve unlike providers: it serves what can be served, and bills it right.

    python -m benchmarks.providers --markdown benchmarks/README.md      # 5,000 requests, 64 at a time
    python -m benchmarks.providers --requests 500 --findings found.txt  # every broken law, with its request
    python -m benchmarks.providers --unknown-addresses                  # hosts of which the gateway knows nothing

Every provider refuses, replies, fails and counts in its family's documented way (`refusals.py`, `replies.py`), and
keeps its own books. Returns 1 when a law is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.common.processes import Pinned, free_port
from benchmarks.common.result import circumstances, deliver
from benchmarks.providers.client import send_all
from benchmarks.providers.families import UNKNOWN
from benchmarks.providers.gateway import charged, window, write_config
from benchmarks.providers.report import Run, in_markdown, report
from benchmarks.providers.requests import Mixed, mixed

ROOT = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and write what is asked for. Returns 1 when a law is broken."""
    arguments = _arguments(argv)
    began = time.monotonic()
    todo = mixed(arguments.requests, arguments.seed)
    suffix = UNKNOWN if arguments.unknown_addresses else ""
    found = run(todo, arguments.clients, arguments.seed, arguments.seconds, suffix)
    result = circumstances("providers", argv, ["loupe-gateway", "uvloop"])
    result |= {"seed": arguments.seed, "clients": arguments.clients, "seconds": round(time.monotonic() - began, 1)}
    result |= report(found)
    deliver(arguments, result, "unlike providers", in_markdown(result))
    if arguments.findings is not None:
        lines = [json.dumps(each, ensure_ascii=False) for law in result["broken"].values() for each in law]
        arguments.findings.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0 if result["holds"] else 1


def run(todo: Sequence[Mixed], clients: int, seed: int, seconds: float, suffix: str = "") -> Run:
    """Send the requests through a gateway, end it, and return what all sides wrote down.

    `suffix` is added to every provider's host name, so that the gateway does not know the address.
    """
    with tempfile.TemporaryDirectory(prefix="loupe-unlike-") as name, ExitStack() as stack:
        folder = Path(name)
        server = [sys.executable, "-m", "benchmarks.providers.server", str(seed)]
        pool = Pinned(server, None, folder / "pool.log", cwd=ROOT)
        stack.callback(pool.end)
        pool_port, port = pool.printed_port(), free_port()
        config = write_config(folder, port, pool_port, suffix)
        serve = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config)]
        gateway = Pinned(serve, None, folder / "gateway.log", cwd=ROOT, environment={"OMP_NUM_THREADS": "1"})
        stack.callback(gateway.end)
        gateway.wait_until_ready(f"http://127.0.0.1:{port}/readyz")
        answers = asyncio.run(send_all(port, todo, clients, seconds))
        with urllib.request.urlopen(f"http://127.0.0.1:{pool_port}/books", timeout=30) as reply:
            books: dict[str, Any] = json.load(reply)
        gateway.end()
        spent, held = window(folder)
        return Run(answers, books, charged(folder), spent, held)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.providers", description=__doc__)
    parser.add_argument("--requests", type=int, default=5_000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seed", type=int, default=20_261)
    parser.add_argument("--seconds", type=float, default=300.0, help="no request is begun after this time")
    parser.add_argument("--unknown-addresses", action="store_true", help="give the providers unknown host names")
    parser.add_argument("--findings", type=Path, metavar="FILE", help="write every broken law, a JSON object a line")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
