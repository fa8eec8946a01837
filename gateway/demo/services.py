"""The demo's processes: starts the pool and the gateway as separate processes, and ends them whatever happens."""

from __future__ import annotations

import hashlib
import http.client
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gateway.app.child_process import child_environment, loupe_command
from gateway.errors import LoupeError
from gateway.providers.replay.candidates import DemoCandidate

HOST = "127.0.0.1"
START_S = 300.0
STOP_S = 15.0
TAIL_LINES = 25


class ServiceError(LoupeError):
    """A process did not start, or ended too early; the message contains the end of its log."""


@dataclass(frozen=True, slots=True)
class DemoTenant:
    """A tenant of the demo's gateway with its key and its budget in USD."""

    name: str
    key: str
    budget_usd: str
    quality_weight: float


def demo_tenants() -> tuple[DemoTenant, ...]:
    """Return three tenants with fresh keys; the last one's budget is small enough to run out."""
    return tuple(
        DemoTenant(name, f"lp-demo-{secrets.token_hex(16)}", budget, weight)
        for name, budget, weight in (("alpha", "5.00", 0.8), ("bravo", "2.00", 0.5), ("charlie", "0.06", 0.8))
    )


def write_config(
    folder: Path, pool_port: int, port: int, candidates: Sequence[DemoCandidate], tenants: Sequence[DemoTenant]
) -> Path:
    """Write the gateway's configuration with its embedded defaults and all state in `folder`. Returns its path."""
    config: dict[str, Any] = {
        "server": {"host": HOST, "port": port},
        "store": {"path": str(folder / "loupe.sqlite")},
        "log": {"path": str(folder / "requests.jsonl")},
        "providers": {"pool": {"kind": "openai", "base_url": f"http://{HOST}:{pool_port}/v1"}},
        "candidates": [
            {
                "name": candidate.name,
                "provider": "pool",
                "provider_model": candidate.name,
                "input_usd_per_mtok": float(candidate.input_usd),
                "output_usd_per_mtok": float(candidate.output_usd),
                "image_tokens": candidate.image_tokens,
                "context_tokens": candidate.context_tokens,
                "max_output_tokens": 2_048,
            }
            for candidate in candidates
        ],
        "tenants": [
            {
                "name": tenant.name,
                "keys": [{"sha256": hashlib.sha256(tenant.key.encode()).hexdigest()}],
                "budget": {"usd": float(tenant.budget_usd), "period": "total"},
                "quality_weight": tenant.quality_weight,
            }
            for tenant in tenants
        ],
    }
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def free_port() -> int:
    """Return a port that no process listens on right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(name: str, words: Sequence[str], port: int, ready_path: str, log: Path) -> Iterator[None]:
    """Run `loupe` with these arguments until the block ends. The block starts once `ready_path` answers 200."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  our own interpreter and arguments
            loupe_command(*words),
            env=child_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches only this process, which stops the child cleanly
        )
        try:
            _await_ready(name, process, port, ready_path, log)
            yield
            if process.poll() is not None:
                raise ServiceError(f"{name} ended by itself with status {process.returncode}:\n{tail(log)}")
        finally:
            _stop(process)


def _await_ready(name: str, process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServiceError(f"{name} did not start (status {process.returncode}):\n{tail(log)}")
        if _answers(port, path):
            return
        time.sleep(0.05)
    raise ServiceError(f"{name} was not ready after {START_S:.0f} s:\n{tail(log)}")


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tail(log: Path) -> str:
    """Return the last lines of a process's log, indented."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
    return "\n".join(f"    {line}" for line in lines) or "    (it wrote nothing)"
