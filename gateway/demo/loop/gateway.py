"""The loop demo's gateway: its configuration, the commands that are run on it, and the router that it reports."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gateway.app.child_process import child_environment, loupe_command
from gateway.demo.loop.table import TablePrice
from gateway.demo.services import HOST
from gateway.errors import LoupeError

PATIENCE_S = 60.0
BUDGET_USD = 100_000.0
TENANT = "acme"


class CommandError(LoupeError):
    """A command ended with an unexpected status; the message contains its output."""


@dataclass(frozen=True, slots=True)
class LoopSite:
    """The paths and ports of the demo. `workers` processes serve at `port`."""

    folder: Path
    port: int
    pool_port: int
    key: str
    workers: int = 1

    @property
    def config(self) -> Path:
        return self.folder / "gateway.yaml"

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    @property
    def store(self) -> Path:
        return self.folder / "loupe.sqlite"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def write_config(self, prices: Mapping[str, TablePrice], image_tokens: int, explore: float) -> None:
        """Write a configuration with every candidate at the pool, and a tenant who explores with
        the share `explore`.
        """
        config: dict[str, Any] = {
            "server": {"host": HOST, "port": self.port, "workers": self.workers},
            "store": {"path": str(self.store)},
            "log": {"path": str(self.folder / "requests.jsonl")},
            "encoder": {"timeout_ms": 60_000},  # long enough that nothing is declined
            "router": {"timeout_ms": 60_000, "artifacts": str(self.artifacts)},
            "providers": {"pool": {"base_url": f"http://{HOST}:{self.pool_port}/v1"}},
            "candidates": [
                {
                    "name": name,
                    "provider": "pool",
                    "input_usd_per_mtok": round(price.input, 6),
                    "output_usd_per_mtok": round(price.output, 6),
                    "image_tokens": f"flat:{image_tokens}",
                }
                for name, price in prices.items()
            ],
            "tenants": [
                {
                    "name": TENANT,
                    "keys": [{"sha256": hashlib.sha256(self.key.encode()).hexdigest()}],
                    "budget": {"usd": BUDGET_USD, "period": "total"},
                    "quality_weight": 0.7,
                    "pacing": "off",
                    "exploration": {"rate": explore, "gamma": 1.0, "slack": 1.0, "budget_share": 1.0},
                }
            ],
        }
        self.config.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    def run(self, *words: str | Path, may_end_with: Sequence[int] = (0,)) -> int:
        """Run a `loupe` command; its output goes to commands.log. Raises CommandError."""
        done = subprocess.run(  # noqa: S603  our own interpreter and arguments
            loupe_command(*map(str, words)), env=child_environment(), capture_output=True, text=True, check=False
        )
        with (self.folder / "commands.log").open("a", encoding="utf-8") as log:
            log.write(f"$ loupe {' '.join(map(str, words))}\n{done.stdout}{done.stderr}\n")
        if done.returncode not in may_end_with:
            raise CommandError(f"loupe {words[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.returncode

    def router(self) -> str:
        """Return the digest of the router in service; empty while processes differ."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        found = re.findall(r'^loupe_router_info\{digest="([^"]+)"\}', text, re.MULTILINE)
        return str(found[0]) if len(found) == 1 else ""

    def await_router(self, digest: str) -> None:
        """Wait until every process that answers names this router. Raises CommandError."""
        deadline = time.monotonic() + PATIENCE_S
        while not all(self.router() == digest for _ in range(4 * self.workers)):
            if time.monotonic() > deadline:
                raise CommandError(f"router {digest[:12]} was promoted and does not serve after {PATIENCE_S:.0f} s")
            time.sleep(0.1)

    def read(self, name: str) -> dict[str, Any]:
        """Return the content of a JSON file that a command wrote into the folder."""
        found = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return dict(found)


def telling(say: Callable[[str], None], every: int, of: int) -> Callable[[int], None]:
    """Return a function that says how far the traffic is, once per `every` requests."""

    def tell(done: int) -> None:
        if done % every == 0:
            say(f"  {done} of {of} requests")

    return tell
