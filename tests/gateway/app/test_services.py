"""Labels go to those who watch, once each; decisions to their tenants; what was lost is counted over all workers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from gateway.app.services import RecordServices
from gateway.config.settings import Settings
from gateway.outcomes.label import Label
from gateway.outcomes.log import writer
from gateway.outcomes.log.decisions import LabelledDecisions
from gateway.outcomes.log.schema import decisions_path
from gateway.pipeline.chat_request import FetchedBytes
from gateway.pipeline.record import RequestRecord
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.multiprocess import SharedMetrics, WorkerPlace
from tests.gateway.config.test_settings import GOOD
from tests.gateway.outcomes.log.made import Encodings, full, keep


class Watching:
    """Implements `Observer` and `LabelObserver`."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str, float]] = []

    def observe(self, record: RequestRecord) -> None:
        raise AssertionError("no request was made")

    def labelled(self, tenant: str, candidate: str, modality: str, score: float) -> None:
        self.seen.append((tenant, candidate, modality, score))


class Deaf:
    """Implements `Observer` alone."""

    def observe(self, record: RequestRecord) -> None:
        raise AssertionError("no request was made")


def labelled(store: Path, *labels: Label) -> list[tuple[str, str, str, float]]:
    """What a watcher hears of these labels, which the tenant `acme` gives."""
    watching = Watching()
    decisions = LabelledDecisions(decisions_path(store), [Deaf(), watching])
    for label in labels:
        assert asyncio.run(decisions.label("acme", label)) is not None
    decisions.close()
    return watching.seen


def test_a_label_is_told_with_its_candidate_and_what_was_asked_about(tmp_path: Path) -> None:
    store = tmp_path / "loupe.sqlite"
    at = 1e12  # labels are taken for thirty days
    keep(store, full(1, started_at=at), full(2, started_at=at, pictures=(), candidate="small"))
    found = labelled(store, Label("req_1", 0.5), Label("req_2", 1.0))
    assert found == [("acme", "large", "image", 0.5), ("acme", "small", "text", 1.0)]


def test_a_source_that_repeats_or_corrects_itself_is_told_of_once(tmp_path: Path) -> None:
    store = tmp_path / "loupe.sqlite"
    keep(store, full(1, started_at=1e12))
    found = labelled(store, Label("req_1", 0.5), Label("req_1", 0.5), Label("req_1", 0.7), Label("req_1", 1.0, "other"))
    assert [score for *_, score in found] == [0.5, 1.0]


def test_nobody_labels_or_sees_what_is_anothers(tmp_path: Path) -> None:
    store = tmp_path / "loupe.sqlite"
    watching = Watching()
    decisions = LabelledDecisions(decisions_path(store), [watching])
    assert asyncio.run(decisions.label("acme", Label("req_1", 1.0))) is None, "there is no file yet"
    assert asyncio.run(decisions.shown("acme", "req_1")) is None
    keep(store, full(1, started_at=1e12, tenant="other"))
    assert asyncio.run(decisions.label("acme", Label("req_1", 1.0))) is None
    assert asyncio.run(decisions.shown("acme", "req_1")) is None
    assert asyncio.run(decisions.shown("other", "req_1")) is not None
    assert watching.seen == []
    decisions.close()


class Worker:
    """What one process keeps, and its metrics among those of `number` others."""

    def __init__(self, folder: Path, number: int) -> None:
        settings = Settings.model_validate({**GOOD, "store": {"path": str(folder / "loupe.sqlite")}})
        metrics = Metrics()
        self.records = RecordServices(settings, metrics)
        self.shared = SharedMetrics(metrics, WorkerPlace(folder, number), report=lambda *_: None)

    async def lose(self, decisions: int, contents: int) -> None:
        """Open, lose so many, and end."""
        await self.shared.open()
        async with AsyncExitStack() as stack:
            (log,) = self.records.open(Encodings(), stack)
            for number in range(decisions):
                log.observe(full(number, cost=10**30))  # no table takes it
            for number in range(contents):
                log.observe(full(decisions + number)._replace(sources=(TOO_LARGE,)))
        await self.shared.publish()

    async def lost(self) -> dict[str, float]:
        """As a scrape tells of all workers, by sample."""
        families = text_string_to_metric_families((await self.shared.scrape()).decode())
        samples = (sample for each in families if each.type == "counter" for sample in each.samples)
        return {
            each.name: each.value
            for each in samples
            if each.name.endswith(("decisions_lost_total", "content_lost_total"))
        }


TOO_LARGE = FetchedBytes(bytes(writer.LARGEST_QUEUE_BYTES + 1), b"k" * 32)


def test_what_was_lost_is_counted_over_all_workers_and_never_taken_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = Worker(tmp_path, 0), Worker(tmp_path, 1)
        await first.lose(2, 1)
        await second.lose(1, 3)
        of_both = {"loupe_decisions_lost_total": 3, "loupe_content_lost_total": 4}
        assert await first.lost() == await second.lost() == of_both
        successor = Worker(tmp_path, 0)
        await successor.lose(4, 0)
        assert await second.lost() == {**of_both, "loupe_decisions_lost_total": 7}

    asyncio.run(scenario())
