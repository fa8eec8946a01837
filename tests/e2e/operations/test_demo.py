"""`loupe demo` as a reader runs it: real processes, real sockets, the bundled encoder and router."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config.settings import load_config

REQUESTS = 60
DEMO = (sys.executable, "-m", "gateway.cli", "demo", "--requests", str(REQUESTS))
ENDLESS = (*DEMO[:-1], "240")


@pytest.mark.slow
def test_demo_routes_accounts_to_the_nanodollar_and_exits_0(tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    done = subprocess.run([*DEMO, "--json", str(file)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SIMULATED" in done.stdout
    assert "agree to the nanodollar" in done.stdout
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["requests"] == REQUESTS == found["ok"] + found["refused"]
    assert found["problems"] == []
    assert any(refusal["status"] == 402 for refusal in found["refusals"])
    assert found["reasons"].get("routed", 0) > found["ok"] / 2
    parts = found["per_candidate"].values()
    assert sum(part["requests"] for part in parts) == found["ok"]
    assert sum(part["spend_usd"] for part in parts) == pytest.approx(found["spend_usd"], abs=1e-9)
    assert 0 < found["overhead_ms_p50"] <= found["overhead_ms_p99"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_ends_its_pool_and_its_gateway(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen([*ENDLESS, "--keep", str(tmp_path)], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        said = next(line for line in demo.stdout if "sending" in line)
        settings = load_config(tmp_path / "gateway.yaml")
        ports = [settings.server.port, int(settings.providers["pool"].base_url.split(":")[2].removesuffix("/v1"))]
        assert all(_is_open(port) for port in ports)
        demo.send_signal(number)
        # Interrupted within an `exec` of some import, Python ends by the signal itself: 130 to a shell all the same.
        assert demo.wait(timeout=60) in (130, -signal.SIGINT), said
    assert not any(_is_open(port) for port in ports)


def _is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
