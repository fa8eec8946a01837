"""A private Prometheus on 127.0.0.1, with the configuration and the alerts of `deploy/prometheus`."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common.processes import DidNotStart, free_port

PROGRAM = shutil.which("prometheus")
DEPLOYED = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
STARTS_WITHIN_S = 300.0
ENDS_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a query's answer: points (seconds since the epoch, value) in order; an instant query gives one."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]

    @property
    def value(self) -> float:
        return self.points[-1][1]


class PrometheusError(Exception):
    """Prometheus refused a query."""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """The HTTP API of a Prometheus server."""

    url: str

    def at(self, expr: str, when: float) -> list[Series]:
        """Return the series of a query at one moment. Raises PrometheusError."""
        found = self._get("query", query=expr, time=when)
        if found["resultType"] == "scalar":
            return [_series({"metric": {}, "values": [found["result"]]})]
        return [_series({"metric": each["metric"], "values": [each["value"]]}) for each in found["result"]]

    def over(self, expr: str, start: float, end: float, step_s: float) -> list[Series]:
        """Return the series of a query over a range of time. Raises PrometheusError."""
        found = self._get("query_range", query=expr, start=start, end=end, step=step_s)
        return [_series(each) for each in found["result"]]

    def _get(self, what: str, **parameters: Any) -> dict[str, Any]:
        sent = urllib.parse.urlencode(parameters).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{what}", sent, timeout=30) as reply:
                answer = json.load(reply)
        except urllib.error.HTTPError as error:
            raise PrometheusError(f"{parameters['query']}: {error.read().decode()}") from error
        return dict(answer["data"])


def _series(found: Mapping[str, Any]) -> Series:
    return Series(found["metric"], tuple((float(at), float(value)) for at, value in found["values"]))


@contextmanager
def prometheus_server(folder: Path, target: str, *, every_s: int = 1) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes `target` (host:port) within the context. Raises DidNotStart."""
    if PROGRAM is None:
        raise DidNotStart("prometheus is not installed: `make test` installs it where it may")
    folder.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load((DEPLOYED / "prometheus.yaml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": f"{every_s}s", "evaluation_interval": f"{every_s}s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    shutil.copy(DEPLOYED / "alerts.yaml", folder / "alerts.yaml")
    port = free_port()
    log = folder / "prometheus.log"
    command = [
        PROGRAM,
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        _await_ready(process, f"http://127.0.0.1:{port}/-/ready", log)
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        try:
            process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise DidNotStart(f"prometheus did not start:\n{log.read_text(errors='replace')[-2_000:]}")
