"""A pool that serves the small table over a real socket, and the official client on it."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.providers.replay import ReplayApp, read_table
from tests.gateway.providers.replay.tables import data_url, write_table
from tests.served import served


@dataclass(frozen=True)
class Pool:
    """The app, its address, and the addresses of its images."""

    app: ReplayApp
    url: str
    bars: str
    other: str
    client: openai.OpenAI

    def async_client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    def counts(self, candidate: str) -> dict[str, Any]:
        found = self.get("/replay/counts")["candidates"][candidate]
        assert isinstance(found, dict)
        return found

    def counts_once(self, candidate: str, is_met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Counts as soon as they meet the condition: a hang-up takes a moment to be seen."""
        deadline = time.monotonic() + 60
        while not is_met(found := self.counts(candidate)):
            assert time.monotonic() < deadline, found
            time.sleep(0.005)
        return found

    def get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            assert answer.headers["x-loupe-replay"] == "simulated"
            found = json.load(answer)
        assert isinstance(found, dict)
        return found


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    app = ReplayApp(read_table([write_table(tmp_path)]), chunk_tokens=4)
    # As the product serves it, but for the time that this takes to end: a reply that breaks off is no error of ours.
    with served(app, http="httptools", lifespan="off", log_level="critical") as (port, _):
        url = f"http://127.0.0.1:{port}"
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            yield Pool(app, url, data_url(tmp_path / "bars.png"), data_url(tmp_path / "other.png"), client)
