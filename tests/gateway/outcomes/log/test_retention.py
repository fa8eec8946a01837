"""Decisions that are too old are removed with all that hangs on them, and the log goes on being written."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.outcomes.label import Label
from gateway.outcomes.log.labels import put_labels
from gateway.outcomes.log.retention import DAY_S, REMOVED_AT_ONCE, remove_old_decisions
from gateway.outcomes.log.schema import decisions_path, open_decisions
from tests.e2e.harness.scripted_provider import wait_until
from tests.gateway.outcomes.log.made import full, keep, log_at, rows

MANY = 3 * REMOVED_AT_ONCE


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "loupe.sqlite"


def test_old_decisions_go_with_their_labels_and_contents_while_others_are_written(store: Path) -> None:
    path, now = decisions_path(store), time.time()
    keep(store, *[full(n, f"old {n}", pictures=(), started_at=now - 100 * DAY_S) for n in range(MANY)])
    keep(store, full(900, "young", pictures=(), started_at=now))
    put_labels(path, [Label("req_1", 1.0), Label("req_900", 1.0)], now - 99 * DAY_S)
    db = open_decisions(path)
    db.execute(
        "UPDATE queries SET seen_at = seen_at - 100 * 86400 WHERE key NOT IN (SELECT query_key FROM decisions"
        " WHERE request_id = 'req_900')"
    )
    db.close()
    with log_at(store, decision_days=90) as log:
        log.observe(full(901, "younger", pictures=(), started_at=now))
        wait_until(lambda: rows(path, "SELECT count(*) FROM queries") == [(2,)], "the end of the old")
    assert log.lost == 0
    assert rows(path, "SELECT request_id FROM decisions ORDER BY 1") == [("req_900",), ("req_901",)]
    assert rows(path, "SELECT request_id FROM labels") == [("req_900",)]


def test_a_content_that_is_still_seen_stays(store: Path) -> None:
    keep(store, full(1, started_at=1.0), full(2, started_at=5 * DAY_S))
    db = open_decisions(decisions_path(store))
    assert remove_old_decisions(db, 4 * DAY_S) == 1
    assert remove_old_decisions(db, 4 * DAY_S) == 0
    db.close()
    assert rows(decisions_path(store), "SELECT count(*) FROM queries") == [(1,)]


def test_without_a_limit_nothing_is_removed(store: Path) -> None:
    keep(store, full(1, started_at=1.0))
    keep(store, full(2, started_at=2.0))
    assert rows(decisions_path(store), "SELECT count(*) FROM decisions") == [(2,)]
