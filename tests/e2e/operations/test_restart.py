"""`loupe serve` as a process: stopped, started again on the same file, and killed with a request in flight."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.harness.processes import START_S, running_gateway
from tests.e2e.harness.raw_client import RawClient
from tests.e2e.harness.scripted_provider import ScriptedProvider, wait_until
from tests.e2e.harness.scripts import USAGE, answer, hang, say_then_hang, wait_then
from tests.e2e.harness.site import Site, charge, settings_for
from tests.gateway.stores.sqlite.layouts import change, lay, rows_in

pytestmark = pytest.mark.slow

LIMITS = {"connect_s": 60, "first_byte_s": 60, "idle_s": 60, "total_s": 120}
LEASE_S = 60
"""`store.reservation_ttl_s` as it is when nothing is said."""


@pytest.fixture
def config(provider: ScriptedProvider, tmp_path: Path) -> Path:
    """A configuration for `loupe serve`: the bundled encoder and router, candidates that the router knows."""
    raw = settings_for(tmp_path, provider.url)
    raw["server"] = {"port": 0, "shutdown_s": 60}
    raw["providers"]["pool"].update(LIMITS)
    for candidate, column in zip(raw["candidates"], ("GPT-4o", "Gemini-1.5-Pro", "Qwen2-VL-7B"), strict=True):
        candidate["forecast_as"] = column
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def ask(**more: Any) -> dict[str, Any]:
    return {"model": "large", "messages": [{"role": "user", "content": "How many?"}], "max_tokens": 50, **more}


def test_spend_stays_over_a_restart(config: Path, tmp_path: Path) -> None:
    with running_gateway(config, tmp_path) as (command, site):
        assert site.chat(ask()).status == 200
        assert site.chat({**ask(), "model": "auto"}).headers["x-route-reason"] == "routed"
        spent = site.usage()["spent"]
        assert spent > 0
        assert command.end(signal.SIGTERM) in (0, -signal.SIGTERM)
    with running_gateway(config, tmp_path) as (_, site):
        assert site.usage()["spent"] == spent
        assert site.usage()["held"] == 0
        assert site.chat(ask()).status == 200
        assert site.usage()["spent"] == spent + charge("large", *USAGE)
        site.ledger.assert_settled()
        assert site.ledger.count() >= 2, "the outcomes stay too"


@pytest.mark.parametrize("stream", [True, False])
def test_stop_lets_a_request_in_flight_end(
    provider: ScriptedProvider, config: Path, tmp_path: Path, stream: bool
) -> None:
    release = threading.Event()
    provider.on("large", wait_then(release, answer()))
    with running_gateway(config, tmp_path) as (command, site), RawClient(site) as client:
        client.ask(ask(stream=stream))
        provider.wait_for_calls(1)
        command.process.send_signal(signal.SIGTERM)
        command.until(lambda: "Shutting down" in command.text, "the stop")
        release.set()
        client.read_until(b"[DONE]" if stream else b'"total_tokens"')
        command.process.wait(timeout=60)
        site.ledger.assert_settled()
        assert site.ledger.charged() == charge("large", *USAGE)
        assert site.ledger.last_outcome(1)["outcome"] == "ok"


def test_killed_gateways_hold_is_charged_when_its_lease_ends(
    provider: ScriptedProvider, config: Path, tmp_path: Path
) -> None:
    provider.on("large", hang())
    with running_gateway(config, tmp_path) as (command, site), RawClient(site) as client:
        client.ask(ask())
        provider.wait_for_calls(1)
        held = site.usage()["held"]
        assert held > 0
        command.end(signal.SIGKILL)
    with running_gateway(config, tmp_path) as (_, site):
        assert site.usage()["held"] == held, "its lease runs: it may be another gateway's"
        assert site.usage()["spent"] == 0
        (entry,) = site.ledger.entries()
        assert entry.expires_at - entry.changed_at == pytest.approx(LEASE_S)
        _let_pass(site, LEASE_S)
        wait_until(lambda: site.usage()["held"] == 0, "the charge of an expired hold")
        assert site.usage()["spent"] == held
        (entry,) = site.ledger.entries()
        assert (entry.state, entry.charge) == ("expired", held)
        site.ledger.assert_settled()


def test_kill_in_the_middle_of_many_requests_never_loses_money(
    provider: ScriptedProvider, config: Path, tmp_path: Path
) -> None:
    provider.on("large", *[answer()] * 30, say_then_hang("abcd"))
    with running_gateway(config, tmp_path) as (command, site):
        served = [site.chat(ask()).status for _ in range(30)]
        clients = [RawClient(site) for _ in range(5)]
        for client in clients:
            client.ask(ask(stream=True))
            client.read_until(b"abcd")
        command.end(signal.SIGKILL)
        for client in clients:
            client.close()
    assert served == [200] * 30
    with running_gateway(config, tmp_path) as (_, site):
        held = [entry.amount for entry in site.ledger.entries() if entry.state == "held"]
        assert len(held) == 5
        assert site.usage()["spent"] == 30 * charge("large", *USAGE)
        assert site.usage()["held"] == sum(held)
        _let_pass(site, LEASE_S)
        wait_until(lambda: site.usage()["held"] == 0, "the charge of the expired holds")
        assert site.usage()["spent"] == 30 * charge("large", *USAGE) + sum(held)
        site.ledger.assert_settled()


def test_configuration_that_is_wrong_is_one_line_and_no_trace(config: Path, tmp_path: Path) -> None:
    raw = yaml.safe_load(config.read_text())
    raw["server"]["prot"] = 1
    config.write_text(yaml.safe_dump(raw))
    with (
        pytest.raises(AssertionError, match=r"server\.prot: Extra inputs are not permitted"),
        running_gateway(config, tmp_path),
    ):
        pass
    assert "Traceback" not in (tmp_path / "gateway.log").read_text()


def _let_pass(site: Site, seconds: float) -> None:
    """Let the holds be older by so many seconds: nobody waits a minute for the same."""
    with closing(sqlite3.connect(site.ledger.path, timeout=60)) as db:
        db.execute("UPDATE holds SET expires_at = expires_at - ? WHERE state = 'held'", (seconds,))
        db.commit()
    assert all(entry.expires_at < time.time() for entry in site.ledger.entries() if entry.state == "held")


@pytest.mark.parametrize(
    ("kind", "name"), [("store", "loupe"), ("spend", "loupe-spend"), ("decisions", "loupe-decisions")]
)
def test_a_file_of_a_newer_version_ends_the_process_with_one_line_that_names_it(
    config: Path, tmp_path: Path, kind: str, name: str
) -> None:
    path = lay(kind, tmp_path / f"{name}.sqlite")
    change(path, "PRAGMA user_version = 99")
    words = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=START_S, check=False)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    said = [line for line in ended.stderr.splitlines() if f"{name}.sqlite" in line]
    assert len(said) == 1
    assert "the file has version 99" in said[0]
    assert "use the Loupe that wrote the file, or put back a backup" in said[0]


def test_a_gateway_goes_on_with_the_files_of_before_files_had_versions(config: Path, tmp_path: Path) -> None:
    for kind, name in (("store", "loupe"), ("spend", "loupe-spend"), ("decisions", "loupe-decisions")):
        lay(kind, tmp_path / f"{name}.sqlite")
    with running_gateway(config, tmp_path) as (_, site):
        reply = site.chat(ask())
        assert reply.status == 200
        wait_until(lambda: site.ledger.count() == 6, "the decision, beside the five that were there")
        assert site.ledger.entries(reply.headers["x-request-id"])
        total = next(row for row in rows_in(tmp_path / "loupe.sqlite")["windows"] if row[0] == "acme/total")
        assert total[1:3] == (650 + 300, 0), "the hold that stood has run out, and is charged in full"
        assert "acme" in [row[0] for row in rows_in(tmp_path / "loupe.sqlite")["tenants"]]
    found = rows_in(tmp_path / "loupe-spend.sqlite")
    assert "first" in [row[0] for row in found["spend"]]
    assert "acme" in [row[0] for row in found["paces"]]
