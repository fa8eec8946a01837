"""The metrics of several processes as one: nothing is counted twice, nothing that was told is taken back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.metrics import LARGEST_TENANTS, Metrics
from gateway.telemetry.multiprocess import STALE_S, SharedMetrics, WorkerPlace
from tests.fakes.records import record


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class Worker:
    """One process's metrics, and what went wrong with its files."""

    def __init__(self, folder: Path, number: int, clock: Clock) -> None:
        self.faults: list[str] = []
        self.metrics = Metrics()
        self.depth = 0.0
        self.metrics.watch("loupe_depth", "Depth", lambda: self.depth)
        self.metrics.watch("loupe_highest", "Highest", lambda: self.depth, merge="max")
        self.metrics.watch("loupe_average", "Average", lambda: self.depth, merge="mean")
        self.metrics.watch("loupe_newest", "Newest", lambda: self.depth, merge="last")
        self.metrics.watch("loupe_hits", "Hits", lambda: self.depth, total=True)
        self.shared = SharedMetrics(
            self.metrics, WorkerPlace(folder, number), report=lambda where, _: self.faults.append(where), clock=clock
        )

    def serve(self, requests: int, tenant: str = "acme") -> None:
        for _ in range(requests):
            self.metrics.observe(record(tenant=tenant, total_s=0.5))


async def scraped(worker: Worker) -> dict[str, float]:
    """All samples; labels stand behind the name."""
    families = text_string_to_metric_families((await worker.shared.scrape()).decode())
    return {
        sample.name + "".join(f",{sample.labels[label]}" for label in sorted(sample.labels)): sample.value
        for each in families
        for sample in each.samples
    }


REQUESTS = "loupe_requests_total,small,ok,acme"


def test_any_worker_tells_of_all(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        first, second = Worker(tmp_path, 0, clock), Worker(tmp_path, 1, clock)
        first.serve(3)
        second.serve(4)
        first.depth, second.depth = 1.0, 5.0
        await first.shared.publish()
        await second.shared.publish()
        for worker in (first, second, first):
            found = await scraped(worker)
            assert found[REQUESTS] == 7
            assert found["loupe_stage_seconds_count,total"] == 7
            assert found["loupe_stage_seconds_sum,total"] == 3.5
            assert (found["loupe_depth"], found["loupe_highest"], found["loupe_average"]) == (6, 5, 3)
            assert found["loupe_hits_total"] == 6
            assert found["loupe_newest"] == worker.depth
        assert not first.faults + second.faults

    asyncio.run(scenario())


def test_what_was_told_is_never_taken_back(tmp_path: Path) -> None:
    """A worker that told of its counts is killed before it published them again: the others know them all the same."""

    async def scenario() -> None:
        clock = Clock()
        first, second = Worker(tmp_path, 0, clock), Worker(tmp_path, 1, clock)
        await first.shared.publish()
        first.serve(3)
        assert (await scraped(first))[REQUESTS] == 3
        assert (await scraped(second))[REQUESTS] == 3

    asyncio.run(scenario())


def test_a_worker_goes_on_from_the_counts_of_the_one_before_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        first, second = Worker(tmp_path, 0, clock), Worker(tmp_path, 1, clock)
        first.serve(3)
        first.depth = 9.0
        await first.shared.publish()
        second.serve(1)
        for lives in (1, 2):
            successor = Worker(tmp_path, 0, clock)
            await successor.shared.open()
            successor.serve(10)
            await successor.shared.publish()
            found = await scraped(second)
            assert found[REQUESTS] == 4 + 10 * lives
            assert found["loupe_hits_total"] == 9
            assert found["loupe_depth"] == 0  # what the dead one measured is gone with it

    asyncio.run(scenario())


def test_gauges_of_a_silent_worker_are_left_out_and_its_counts_are_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        first, second = Worker(tmp_path, 0, clock), Worker(tmp_path, 1, clock)
        first.serve(3)
        first.depth, second.depth = 9.0, 1.0
        await first.shared.publish()
        assert (await scraped(second))["loupe_depth"] == 10
        clock.now += STALE_S
        found = await scraped(second)
        assert (found["loupe_depth"], found[REQUESTS]) == (1, 3)

    asyncio.run(scenario())


def test_tenants_shown_before_are_shown_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        first = Worker(tmp_path, 0, clock)
        for number in range(LARGEST_TENANTS):
            first.serve(1, f"old{number}")
        await first.shared.publish()
        successor = Worker(tmp_path, 0, clock)
        await successor.shared.open()
        successor.serve(1, "new")
        successor.serve(1, "old7")
        found = await scraped(successor)
        assert found["loupe_requests_total,small,ok,old7"] == 2
        assert found["loupe_requests_total,small,ok,other"] == 1

    asyncio.run(scenario())


def test_a_file_that_is_no_snapshot_is_passed_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        worker = Worker(tmp_path, 0, Clock())
        (tmp_path / "1.metrics").write_bytes(b"\x00 not ours")
        worker.serve(1)
        assert (await scraped(worker))[REQUESTS] == 1

    asyncio.run(scenario())


def test_a_folder_that_is_gone_is_reported_and_the_process_tells_of_itself(tmp_path: Path) -> None:
    async def scenario() -> None:
        worker = Worker(tmp_path / "gone", 0, Clock())
        worker.serve(2)
        for _ in range(3):
            assert (await scraped(worker))[REQUESTS] == 2
        assert worker.faults == ["metrics"]
        (tmp_path / "gone").mkdir()
        await worker.shared.publish()
        assert (tmp_path / "gone" / "0.metrics").is_file()

    asyncio.run(scenario())


@pytest.mark.slow
def test_many_at_once_leave_the_newest_count(tmp_path: Path) -> None:
    async def scenario() -> None:
        worker, other = Worker(tmp_path, 0, Clock()), Worker(tmp_path, 1, Clock())
        for sent in range(1, 30):
            worker.serve(1)
            await asyncio.gather(*(worker.shared.publish() for _ in range(3)), worker.shared.scrape())
            assert (await scraped(other))[REQUESTS] == sent

    asyncio.run(scenario())


def test_without_a_place_nothing_is_written(tmp_path: Path) -> None:
    async def scenario() -> None:
        metrics = Metrics()
        shared = SharedMetrics(metrics, report=lambda *_: None)
        await shared.open()
        await shared.publish_for_ever()
        metrics.observe(record())
        assert b"loupe_requests_total{" in await shared.scrape()
        assert list(tmp_path.iterdir()) == []

    asyncio.run(scenario())
