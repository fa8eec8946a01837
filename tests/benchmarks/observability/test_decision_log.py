"""The decision log's benchmark, with tiny counts: it runs, loses nothing, and says what it found."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from benchmarks.common.canned_provider import Connection
from benchmarks.common.load_client import LoadError
from benchmarks.common.paced_client import PacedLoad, pace
from benchmarks.observability.decision_log import main
from benchmarks.observability.decision_writer import time_writer
from benchmarks.overhead.workloads import workloads

REQUESTS = workloads(1)[0].requests


class Busy(asyncio.Protocol):
    """Answers whatever comes with a 503."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")


class Rude(Busy):
    """Hangs up on whatever comes."""

    def data_received(self, data: bytes) -> None:
        self._transport.close()


def paced(load: PacedLoad, protocol: Callable[[], asyncio.Protocol]) -> list[float]:
    async def run() -> list[float]:
        server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        async with server:
            return await pace(server.sockets[0].getsockname()[1], load)

    return asyncio.run(run())


def test_a_paced_load_sends_as_many_as_are_due_in_its_time() -> None:
    counts: Counter[str] = Counter()
    latencies = paced(PacedLoad(REQUESTS, 200, 0.5), lambda: Connection(counts))
    assert len(latencies) == 100
    assert counts == {"auto": 100}
    assert all(latency > 0 for latency in latencies)


@pytest.mark.parametrize(("protocol", "why"), [(Busy, "status 503"), (Rude, "connection was lost")])
def test_a_reply_that_is_wrong_or_missing_ends_a_paced_load(protocol: type[Busy], why: str) -> None:
    with pytest.raises(LoadError, match=why):
        paced(PacedLoad(REQUESTS, 50, 0.5), protocol)


def test_the_writer_is_timed_and_loses_nothing(tmp_path: Path) -> None:
    written = time_writer(500, tmp_path)
    assert (written.records, written.lost) == (500, 0)
    assert written.observe_us > 0
    assert written.cpu_us > 0
    assert written.bytes_each > 1_000


@pytest.mark.slow
def test_the_benchmark_holds_its_rows_against_its_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--seconds", "1", "--slices", "2", "--rate", "50", "--writer-records", "300"]
    assert main([*words, "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["holds"] is True
    assert found["rows"] == found["answered"] > 100
    assert [each["name"] for each in found["differences"]] == ["p50_ms", "p99_ms", "cpu_us"]
    assert len(found["slices"]) == 4
    assert {"command", "versions", "seed", "python"} <= set(found)
    assert "on the loop:" in capsys.readouterr().out
