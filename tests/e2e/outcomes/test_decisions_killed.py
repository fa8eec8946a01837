"""Killed without warning: the log keeps what was in it, and it takes it in under load. Several workers, one log."""

from __future__ import annotations

import signal
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from tests.e2e.harness.processes import running_gateway
from tests.e2e.harness.scripted_provider import ScriptedProvider
from tests.e2e.harness.site import OTHER_KEY, Site, settings_for
from tests.e2e.operations.test_workers import pids, raw_settings, started_site, workers

pytestmark = pytest.mark.slow

CLIENTS = 4
ANSWERS = 400


class Load:
    """Clients that ask until they are stopped or nobody answers; the ids of what was answered."""

    def __init__(self, site: Site) -> None:
        self.answered: list[str] = []
        self._site = site
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,), daemon=True) for n in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

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
                self.answered.append(answer.headers["x-request-id"])


def logged(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "loupe-decisions.sqlite", timeout=60)) as db:
        return {request_id for (request_id,) in db.execute("SELECT request_id FROM decisions")}


def test_what_was_answered_is_logged_under_load_and_stays_when_the_gateway_is_killed(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    raw = settings_for(tmp_path, provider.url)
    raw["server"] = {"port": 0}
    raw["candidates"][2]["forecast_as"] = "Qwen2-VL-7B"
    config = tmp_path / "gateway.yaml"
    config.write_text(yaml.safe_dump(raw))
    with running_gateway(config, tmp_path) as (command, site):
        load = Load(site)
        command.until(lambda: len(load.answered) >= ANSWERS, f"{ANSWERS} answers")
        by_then = set(load.answered)
        command.until(lambda: by_then <= logged(tmp_path), "the rows of what was answered, while more is asked")
        command.end(signal.SIGKILL)
        load.stop()
    assert by_then <= logged(tmp_path)
    lost = [place for place, request_id in enumerate(load.answered) if request_id not in logged(tmp_path)]
    print(f"{len(load.answered)} answered, {len(lost)} lost")
    assert all(place >= ANSWERS for place in lost)


def test_workers_write_one_log_and_each_shows_what_another_decided(
    tmp_path: Path, shared_provider: ScriptedProvider
) -> None:
    shared_provider.forget()
    with workers(tmp_path, raw_settings(tmp_path, shared_provider.url), 2) as command:
        site = started_site(command, tmp_path, 2)
        assert len(pids(command)) == 2
        load = Load(site)
        command.until(lambda: len(load.answered) >= 100, "100 answers")
        load.stop()
        for request_id in load.answered[-20:]:  # whichever worker is asked, and at once
            assert site.call("GET", f"/v1/decisions/{request_id}").status == 200
            assert site.call("POST", "/v1/feedback", {"request_id": request_id, "score": 1}).status == 200
        assert site.call("GET", f"/v1/decisions/{request_id}", key=OTHER_KEY).status == 404
        command.until(lambda: set(load.answered) <= logged(tmp_path), "all rows")
