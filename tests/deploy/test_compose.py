"""`deploy/compose.yaml` without Docker: its files and names fit together, and its own commands, run by hand, come up.

What stands for a container here is a process on 127.0.0.1: host names, ports and paths are put in for those of the
containers, nothing else.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.common.processes import free_port
from benchmarks.common.prometheus_server import prometheus_server
from gateway.config.candidates import candidate_of
from gateway.config.settings import load_config
from tests.gateway.stores.redis.redis_server import RedisServer

from .boards import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
OURS = ("gateway", "replay")
KEYS = {"build", "image", "command", "environment", "volumes", "ports", "depends_on", "restart", "healthcheck"}
KEY = "sk-compose-0123456789abcdef"
PATIENCE_S = 120.0


def test_all_that_is_promised_is_there() -> None:
    assert set(SERVICES) == {"gateway", "replay", "redis", "prometheus", "grafana"}
    for name, service in SERVICES.items():
        assert set(service) <= KEYS | {"stop_grace_period"}
        assert service["restart"] == "unless-stopped"
        assert name in OURS or re.search(r":v?\d+\.\d+", service["image"]), f"{name}: no version is pinned"


def test_mounted_files_and_volumes_exist() -> None:
    used = set()
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            source, _, rest = mount.partition(":")
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), mount
                assert rest.endswith(":ro"), f"{mount}: a file of the repository is never written"
            else:
                used.add(source)
    assert used == set(COMPOSE["volumes"])


def test_who_is_waited_for_says_when_it_is_well() -> None:
    for service in SERVICES.values():
        waited = service.get("depends_on", {})
        for name in waited:
            assert name in SERVICES
            if isinstance(waited, dict) and waited[name]["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name]


def test_nothing_is_open_to_the_network() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_the_services_call_each_other_by_the_names_and_ports_that_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOUPE_EXAMPLE_KEY", KEY)
    settings = load_config(DEPLOY / "compose.gateway.yaml")
    words = SERVICES["replay"]["command"]
    assert settings.providers["pool"].base_url == f"http://replay:{words[words.index('--port') + 1]}/v1"
    assert [candidate_of(section, settings).name for section in settings.candidates]
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8"))
    assert scraped["scrape_configs"][0]["static_configs"] == [{"targets": [f"gateway:{settings.server.port}"]}]
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/loupe.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert SERVICES["gateway"]["environment"]["LOUPE_REDIS_URL"].startswith("redis://redis:6379")
    assert str(settings.store.path).startswith("/var/lib/loupe/")
    assert "gateway-data:/var/lib/loupe" in SERVICES["gateway"]["volumes"]


def test_the_image_fits_what_compose_asks_of_it() -> None:
    lines = DOCKERFILE.splitlines()
    assert "USER loupe" in lines and "useradd --system" in DOCKERFILE
    assert "EXPOSE 8080" in lines and "VOLUME /var/lib/loupe" in lines
    assert lines.index("USER loupe") < lines.index("VOLUME /var/lib/loupe")
    assert 'ENTRYPOINT ["loupe"]' in lines
    for source in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.M):
        assert all((ROOT / each).exists() for each in source.split()), source
    assert SERVICES["replay"]["healthcheck"]["test"][0] == "CMD"  # the image's own asks port 8080


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Redis, pool, gateway and Prometheus by compose.yaml's own commands; the ports that they have here."""
    folder = tmp_path_factory.mktemp("compose")
    redis = RedisServer(folder / "redis")
    ports = {"redis": redis.port, "replay": free_port(), "gateway": free_port()}
    config = (DEPLOY / "compose.gateway.yaml").read_text(encoding="utf-8")
    config = config.replace("http://replay:9000", f"http://127.0.0.1:{ports['replay']}")
    (folder / "gateway.yaml").write_text(config.replace("/var/lib/loupe", str(folder)), encoding="utf-8")
    environment = {"LOUPE_REDIS_URL": redis.url, "LOUPE_EXAMPLE_KEY": KEY}
    with ExitStack() as running:
        running.callback(redis.stop)
        running.enter_context(_command("replay", folder, {"9000": str(ports["replay"])}, {}))
        _until_healthy(_health("replay"), {"9000": str(ports["replay"])})
        paths = {"/etc/loupe/gateway.yaml": str(folder / "gateway.yaml"), "0.0.0.0": "127.0.0.1"}
        more = ["--port", str(ports["gateway"])]  # in the container the configuration's own
        running.enter_context(_command("gateway", folder, paths, environment, more))
        _until_healthy(_health("gateway"), {"8080": str(ports["gateway"])})
        prometheus = running.enter_context(
            prometheus_server(folder / "prometheus", f"127.0.0.1:{ports['gateway']}", every_s=1)
        )
        yield {"ports": ports, "prometheus": prometheus}


@pytest.mark.slow
def test_the_commands_come_up_and_serve(stack: dict[str, Any]) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "How many squares are there?"}]}
    connection = http.client.HTTPConnection("127.0.0.1", stack["ports"]["gateway"], timeout=120)
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    reply = connection.getresponse()
    assert reply.status == 200, reply.read()
    assert json.load(reply)["usage"]["completion_tokens"] > 0
    connection.close()
    _until(lambda: _value(stack, 'up{job="loupe"}') == 1)
    _until(lambda: _value(stack, "sum(loupe_workers)") == 2)
    _until(lambda: _value(stack, 'sum(loupe_requests_total{tenant="example", outcome="ok"})') == 1)
    _until(lambda: _value(stack, 'loupe_budget_limit{tenant="example", window="month"}') == 25)
    assert _value(stack, "loupe_unsettled") == 0


def _value(stack: dict[str, Any], expr: str) -> float | None:
    found = stack["prometheus"].at(expr, time.time())
    return found[0].value if found else None


@contextmanager
def _command(
    service: str, folder: Path, here: dict[str, str], environment: dict[str, str], more: list[str] | None = None
) -> Iterator[None]:
    """A service of our own image: its entry point is `loupe`."""
    words = [here.get(word, word) for word in SERVICES[service]["command"]] + (more or [])
    words = ["127.0.0.1" if word == "0.0.0.0" else word for word in words]
    with (folder / f"{service}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", *words], stdout=log, stderr=log, env={**os.environ, **environment}
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _health(service: str) -> list[str]:
    """The command by which a container is known to be well."""
    if service == "gateway":
        found = re.search(r"^HEALTHCHECK .*CMD (\[.+\])$", DOCKERFILE, re.M)
        assert found is not None
        return list(json.loads(found[1]))
    return list(SERVICES[service]["healthcheck"]["test"][1:])


def _until_healthy(words: list[str], here: dict[str, str]) -> None:
    program, *rest = words
    assert program == "python", shlex.join(words)
    for theirs, ours in here.items():
        rest = [word.replace(f":{theirs}/", f":{ours}/") for word in rest]
    _until(lambda: subprocess.run([sys.executable, *rest], capture_output=True, check=False).returncode == 0)


def _until(done: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.2)
