"""Labels go to those who watch, once each; decisions to their tenants."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.core.label import Label
from gateway.core.record import RequestRecord
from gateway.decision_log.tables import decisions_path
from gateway.record_keeping import LabelledDecisions
from tests.gateway.decision_log.made import full, keep


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
