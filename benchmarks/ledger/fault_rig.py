"""The rig that the fault benchmark breaks: two gateways on one ledger, a scripted provider, and a small disk."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common.processes import Pinned, free_port
from tests.e2e.harness.scripted_provider import ScriptedProvider
from tests.e2e.harness.scripts import USAGE
from tests.gateway.stores.redis.redis_server import RedisServer

ROOT = Path(__file__).resolve().parents[2]
USD_PER_MTOK = 10.0
COST = round(USD_PER_MTOK * 1e9) * USAGE[1] // 1_000_000
"""The nanodollars of every request, which are both its reservation and its cost."""
PAYABLE = 24
CAP = PAYABLE * COST
SET_ASIDE = 2 * COST
"""The nanodollars that each gateway sets aside of each budget, where it continues without its ledger."""
LEASE_S = 1.0
PATIENCE_S = 60.0
DISK_BYTES = 192 * 1024 * 1024


@dataclass
class Rig:
    """The benchmark's processes. `gateways` serve the same tenants from one ledger; each run has its own tenant."""

    folder: Path
    store: str
    provider: ScriptedProvider
    silent: SilentProvider
    disk: Disk
    redis: RedisServer | None
    config: Path
    ports: tuple[int, ...]
    pool: ThreadPoolExecutor
    gateways: list[Pinned] = field(default_factory=list)

    def start(self, number: int) -> None:
        """Start or restart a gateway."""
        words = ["serve", "--config", str(self.config), "--port", str(self.ports[number])]
        url = self.redis.url if self.redis else ""
        gateway = Pinned(
            [sys.executable, "-m", "gateway.cli", *words],
            None,
            self.folder / f"gateway{number}.log",
            cwd=ROOT,
            environment={"LOUPE_REDIS_URL": url, "OMP_NUM_THREADS": "1"},
        )
        self.gateways[number:] = [gateway, *self.gateways[number + 1 :]]
        gateway.wait_until_ready(f"http://127.0.0.1:{self.ports[number]}/readyz")

    def end(self) -> None:
        """End the gateways with a normal shutdown."""
        for gateway in self.gateways:
            gateway.end()

    def ask(self, number: int, tenant: str, model: str = "canned") -> int:
        """Send a request to a gateway. Returns the status of the reply, 0 when there was none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[number], timeout=PATIENCE_S)
        try:
            connection.request("POST", "/v1/chat/completions", body(model), headers(tenant))
            reply = connection.getresponse()
            reply.read()
            return reply.status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def asking(self, number: int, tenant: str, model: str = "canned") -> Future[int]:
        """Send a request in a thread. Returns the future of its status, as `ask` returns it."""
        return self.pool.submit(self.ask, number, tenant, model)

    def window(self, number: int, tenant: str) -> tuple[int, int]:
        """Return the nanodollars (spent, held) of a budget as a gateway reports them. Raises OSError on failure."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[number]}/v1/usage", headers=headers(tenant))
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
            [window] = json.load(reply)["windows"]
        return round(window["spent_usd"] * 1e9), round(window["held_usd"] * 1e9)


class SilentProvider:
    """A provider that accepts TLS connections and never answers: requests to it are reserved, but never sent."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._taken: list[socket.socket] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._take, name="silent-provider")
        self._thread.start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def wait_for_hellos(self, count: int) -> None:
        """Wait until this number of connections is begun. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._taken) >= count, PATIENCE_S):
                raise TimeoutError(f"{len(self._taken)} of {count} connections")

    def forget(self) -> None:
        """Close all connections."""
        with self._changed:
            for each in self._taken:
                each.close()
            self._taken.clear()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.forget()

    def _take(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                if connection.recv(5):  # the TLS hello has begun, so the gateway has made its reservation
                    with self._changed:
                        self._taken.append(connection)
                        self._changed.notify_all()


class Disk:
    """A folder that can be full.

    The folder is a small separate file system where the process may mount one. Otherwise (`is_own` is False), a limit
    on the size of files is set on the writing processes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
        may_mount = os.geteuid() == 0 and shutil.which("mount") is not None
        self.is_own = may_mount and subprocess.run(words, capture_output=True, check=False).returncode == 0

    def fill(self, rig: Rig) -> None:
        """Fill the disk, so that neither a gateway nor Redis can write another page."""
        with closing(sqlite3.connect(self.folder / "loupe.sqlite", timeout=PATIENCE_S)) as db:
            until(lambda: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)  # no room left in the log
        if not self.is_own:
            for pid in _writers(rig):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]))
            return
        with suppress(OSError), (self.folder / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def clear(self, rig: Rig) -> None:
        (self.folder / "filler").unlink(missing_ok=True)
        for pid in _writers(rig) if not self.is_own else ():
            hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))

    def close(self) -> None:
        if self.is_own:
            subprocess.run(["umount", str(self.folder)], check=True)


def _writers(rig: Rig) -> list[int]:
    return [gateway.pid for gateway in rig.gateways] + ([rig.redis.process.pid] if rig.redis else [])


@contextmanager
def rig_on(store: str, folder: Path, tenants: int, provider: ScriptedProvider) -> Iterator[Rig]:
    """Yield a rig on `sqlite`, `redis` or `redis, leases`, with a number of tenants."""
    folder.mkdir()
    with ExitStack() as stack:
        disk = stack.enter_context(closing(Disk(folder / "disk")))
        silent = stack.enter_context(closing(SilentProvider()))
        redis = RedisServer(disk.folder / "redis", sync="everysec") if store.startswith("redis") else None
        if redis is not None:
            stack.callback(redis.stop)
        config = folder / "gateway.yaml"
        config.write_text(yaml.safe_dump(_config(store, folder, provider, silent, tenants)), encoding="utf-8")
        pool = stack.enter_context(ThreadPoolExecutor(16))
        rig = Rig(folder, store, provider, silent, disk, redis, config, (free_port(), free_port()), pool)
        stack.callback(rig.end)
        for number in range(len(rig.ports)):
            rig.start(number)
        yield rig


def until(is_met: Callable[[], bool]) -> float:
    """Wait until `is_met` returns True. Returns the seconds that this took. Raises TimeoutError after PATIENCE_S."""
    began = time.monotonic()
    while not is_met():
        if time.monotonic() - began > PATIENCE_S:
            raise TimeoutError(f"not within {PATIENCE_S:g} s")
        time.sleep(0.01)
    return time.monotonic() - began


def body(model: str, *, stream: bool = False) -> bytes:
    messages = [{"role": "user", "content": "How many?"}]
    return json.dumps({"model": model, "max_tokens": USAGE[1], "messages": messages, "stream": stream}).encode()


def headers(tenant: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {_key(tenant)}", "Content-Type": "application/json"}


def tenant_named(number: int) -> str:
    return f"run{number}"


def _key(tenant: str) -> str:
    return f"sk-faults-{tenant}"


def _config(
    store: str, folder: Path, provider: ScriptedProvider, silent: SilentProvider, tenants: int
) -> Mapping[str, Any]:
    limits = {"connect_s": PATIENCE_S, "first_byte_s": PATIENCE_S}
    prices = {"input_usd_per_mtok": 0, "output_usd_per_mtok": USD_PER_MTOK}
    names = [tenant_named(number) for number in range(tenants)]
    return {
        "server": {"shutdown_s": 5},
        "store": {
            "kind": store.partition(",")[0],
            "path": str(folder / "disk" / "loupe.sqlite"),
            "reservation_ttl_s": LEASE_S,
            "when_gone": "local" if store.endswith("leases") else "closed",
            "local_lease_usd": SET_ASIDE / 1e9,
        },
        "log": {"path": str(folder / "requests.jsonl")},
        "providers": {
            "scripted": {"base_url": provider.url, **limits},
            "silent": {"base_url": silent.url, **limits},
        },
        "candidates": [
            {"name": "canned", "provider": "scripted", **prices},
            {"name": "unsent", "provider": "silent", **prices},
        ],
        "tenants": [
            {
                "name": name,
                "keys": [{"sha256": hashlib.sha256(_key(name).encode()).hexdigest()}],
                "budget": {"usd": CAP / 1e9},
            }
            for name in names
        ],
    }
