"""Killed without warning: of what was answered, the log lacks the last moment at most. Several workers, one log."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from gateway.decision_log.writer import FLUSH_S

from .processes import running_gateway
from .scripted_provider import ScriptedProvider
from .site import OTHER_KEY, Site, settings_for
from .test_workers import pids, raw_settings, started_site, workers

pytestmark = pytest.mark.slow

CLIENTS = 4
ANSWERS = 400
WINDOW_S = 1.0
"""What may be lost is FLUSH_S and the time to write two groups, some 30 ms: the rest is for machines under load."""


class Load:
    """Clients that ask until they are stopped or nobody answers; when each answer was there."""

    def __init__(self, site: Site) -> None:
        self.answered: dict[str, float] = {}
        self._site = site
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,), daemon=True) for n in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self, client: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            text = f"{client} asks for the {number}th time"
            body = {"model": "small", "messages": [{"role": "user", "content": text}], "max_tokens": 20}
            try:
                answer = self._site.chat(body)
            except OSError:
                return
            if answer.status == 200:
                self.answered[answer.headers["x-request-id"]] = time.monotonic()


def logged(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "loupe-decisions.sqlite", timeout=5)) as db:
        return {request_id for (request_id,) in db.execute("SELECT request_id FROM decisions")}


def test_a_gateway_that_is_killed_has_logged_all_but_the_last_moment(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    raw = settings_for(tmp_path, provider.url)
    raw["server"] = {"port": 0}
    raw["candidates"][2]["forecast_as"] = "Qwen2-VL-7B"
    config = tmp_path / "gateway.yaml"
    config.write_text(yaml.safe_dump(raw))
    with running_gateway(config, tmp_path) as (command, site):
        load = Load(site)
        command.until(lambda: len(load.answered) >= ANSWERS, f"{ANSWERS} answers", 120)
        killed = time.monotonic()
        command.end(signal.SIGKILL)
        load.stop()
    lost = set(load.answered) - logged(tmp_path)
    ages = sorted(killed - load.answered[request_id] for request_id in lost)
    print(f"{len(load.answered)} answered, {len(lost)} lost, the oldest {ages[-1] * 1e3 if ages else 0:.0f} ms old")
    assert not ages or ages[-1] < FLUSH_S + WINDOW_S
    assert len(load.answered) - len(lost) >= ANSWERS // 2


def test_workers_write_one_log_and_each_shows_what_another_decided(
    tmp_path: Path, shared_provider: ScriptedProvider
) -> None:
    shared_provider.forget()
    with workers(tmp_path, raw_settings(tmp_path, shared_provider.url), 2) as command:
        site = started_site(command, tmp_path, 2)
        assert len(pids(command)) == 2
        load = Load(site)
        command.until(lambda: len(load.answered) >= 100, "100 answers", 60)
        load.stop()
        for request_id in list(load.answered)[-20:]:  # whichever worker is asked, and at once
            assert site.call("GET", f"/v1/decisions/{request_id}").status == 200
            assert site.call("POST", "/v1/feedback", {"request_id": request_id, "score": 1}).status == 200
        assert site.call("GET", f"/v1/decisions/{request_id}", key=OTHER_KEY).status == 404
        command.until(lambda: set(load.answered) <= logged(tmp_path), "all rows")
