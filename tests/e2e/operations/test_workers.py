"""`loupe serve --workers`: real processes on one port, killed, started anew, ended together."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.harness.processes import Command
from tests.e2e.harness.scripted_provider import ScriptedProvider
from tests.e2e.harness.site import OTHER_KEY, Site, settings_for

pytestmark = pytest.mark.slow

PATIENCE_S = 600.0


@contextmanager
def workers(folder: Path, raw: dict[str, object], count: int) -> Iterator[Command]:
    config, log = folder / "gateway.yaml", folder / "out.log"
    config.write_text(yaml.safe_dump(raw), encoding="utf-8")
    command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config), "--port", "0"]
    with log.open("wb") as out:
        process = subprocess.Popen([*command, "--workers", str(count)], stdout=out, stderr=out)
    try:
        yield Command(process, log)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def until_started(command: Command, count: int) -> None:
    """Wait until so many workers have started: those too that took the place of another."""
    command.until(lambda: command.text.count("Application startup complete") >= count, f"{count} starts")


def started_site(command: Command, folder: Path, count: int) -> Site:
    """The gateway, as soon as all of its workers have started."""
    until_started(command, count)
    found = re.search(r"serve http://127\.0\.0\.1:(\d+)", command.text)
    assert found is not None
    return Site("127.0.0.1", int(found.group(1)), folder)


def pids(command: Command) -> list[int]:
    """The worker processes that were started, in order."""
    return [int(pid) for pid in re.findall(r"worker \d+ is process (\d+)", command.text)]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def raw_settings(folder: Path, provider: str) -> dict[str, object]:
    raw = settings_for(folder, provider)
    raw["router"] = {"timeout_ms": 10_000}
    return raw


def test_workers_share_the_port_and_the_ledger_and_are_replaced_when_killed(
    tmp_path: Path, shared_provider: ScriptedProvider
) -> None:
    shared_provider.forget()
    with workers(tmp_path, raw_settings(tmp_path, shared_provider.url), 2) as command:
        site = started_site(command, tmp_path, 2)
        ask = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
        answers = [site.chat(ask) for _ in range(10)]
        assert [answer.status for answer in answers] == [200] * 10
        assert site.usage()["spent"] == sum(round(float(a.headers["x-route-cost"]) * 1e9) for a in answers)

        first = pids(command)
        os.kill(first[0], signal.SIGKILL)
        until_started(command, 3)
        assert len(pids(command)) == 3
        assert site.chat(ask).status == 200

        assert site.chat(ask, key=OTHER_KEY).status == 200
        assert "pacing" in site.call("GET", "/v1/usage", key=OTHER_KEY).json["windows"][0]
        command.process.terminate()
        assert command.process.wait(PATIENCE_S) == 0
        with closing(sqlite3.connect(tmp_path / "loupe-spend.sqlite")) as db:
            [(state,)] = db.execute("SELECT state FROM paces WHERE owner = 'other'")
        assert json.loads(state)["processes"] == 2, "each worker knows how many spend with it"
        assert not any(alive(pid) for pid in pids(command))


def test_workers_that_can_not_start_are_not_started_for_ever(tmp_path: Path) -> None:
    raw = raw_settings(tmp_path, "http://127.0.0.1:9")
    raw["router"] = {"artifact": str(tmp_path / "none")}
    with workers(tmp_path, raw, 2) as command:
        assert command.process.wait(PATIENCE_S) == 1
        assert "router.artifact" in command.text
        assert len(pids(command)) == 2


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    raw = raw_settings(tmp_path, "http://127.0.0.1:9")
    raw["server"] = {"host": "192.0.2.1"}
    with workers(tmp_path, raw, 2) as command:
        assert command.process.wait(PATIENCE_S) == 1
        assert "cannot be listened on" in command.text


def test_four_workers_pace_one_budget(tmp_path: Path, shared_provider: ScriptedProvider) -> None:
    shared_provider.forget()
    raw: dict[str, Any] = raw_settings(tmp_path, shared_provider.url)
    for candidate, column in zip(raw["candidates"], ("GPT-4o", "Gemini-1.5-Pro", "Qwen2-VL-7B"), strict=True):
        candidate["forecast_as"] = column
    raw["tenants"][0]["budget"] = {"usd": 0.2, "period": "day", "rolling": True}
    ask = {"model": "auto", "messages": [{"role": "user", "content": "How many?"}], "max_tokens": 20}
    with workers(tmp_path, raw, 4) as command:
        site = started_site(command, tmp_path, 4)
        assert site.chat(ask).headers["x-route-reason"] == "routed"

        def all_are_paced() -> bool:
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda _: site.chat(ask), range(64)))
            assert {answer.status for answer in answers} == {200}
            return all("pace=" in answer.headers["x-route-reason"] for answer in answers)

        command.until(all_are_paced, "the pace of every worker")
        usage = site.call("GET", "/v1/usage").json["windows"][0]
        assert usage["pacing"]["binds"]
        assert usage["spent_usd"] < usage["limit_usd"]
        command.process.terminate()
        assert command.process.wait(PATIENCE_S) == 0
        assert "Traceback" not in command.text


def test_any_worker_tells_of_all_and_a_dead_one_is_not_forgotten(
    tmp_path: Path, shared_provider: ScriptedProvider
) -> None:
    shared_provider.forget()
    with workers(tmp_path, raw_settings(tmp_path, shared_provider.url), 2) as command:
        site = started_site(command, tmp_path, 2)
        ask = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
        who = {"tenant": "first", "candidate": "small", "outcome": "ok"}

        def counted() -> float:
            return site.metric("loupe_requests_total", **who)

        sent, seen = 0, [0.0]
        for _ in range(12):
            assert site.chat(ask).status == 200
            sent += 1
            seen.append(counted())  # by whichever worker takes the connection
        command.until(lambda: counted() == sent, "the counts of both")  # the other's last second has been published
        assert seen == sorted(seen)
        assert site.metric("loupe_workers") == 2

        before = command.text.count("Application startup complete")
        os.kill(pids(command)[0], signal.SIGKILL)
        assert counted() == sent
        until_started(command, before + 1)
        assert counted() == sent
        for _ in range(8):
            assert site.chat(ask).status == 200
        command.until(lambda: counted() == sent + 8, "the counts of both and of the dead one")
        command.until(lambda: site.metric("loupe_workers") == 2, "two that count")
        spend = site.metric("loupe_spend_usd_total", tenant="first", candidate="small")
        assert spend == pytest.approx(site.usage()["spent"] / 1e9)
        command.until(
            lambda: (
                site.metric("loupe_budget_limit", tenant="first", window="total", unit="usd", enforced="hard") == 100
            ),
            "the budget's limit",
        )
