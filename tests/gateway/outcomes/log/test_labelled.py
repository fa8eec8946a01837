"""Labelled requests out of a decision log's file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.outcomes.comparison import LabelledRow
from gateway.outcomes.log.labelled import LabelledLog
from gateway.outcomes.log.schema import decisions_path

TABLES = """
CREATE TABLE decisions(request_id TEXT PRIMARY KEY, started_at REAL, tenant TEXT, candidate TEXT, cost_nanousd INTEGER,
    decided TEXT, propensity REAL, candidates BLOB);
CREATE TABLE labels(request_id TEXT, source TEXT, score REAL, probability REAL, labelled_at REAL,
    PRIMARY KEY(request_id, source));
"""
"""The part of the log's tables that is read."""


def entry(name: str, quality: float | None, cost: int, dropped: str | None = None) -> list[object]:
    """A candidate as the log has it: its place is what counts."""
    return [name, quality, 0.1, 40.0, 60.0, 100, 120, 500, cost, 2 * cost, 0.5, dropped, 0.5]


CANDIDATES = msgspec.msgpack.encode(
    [entry("small", 0.5, 1_000), entry("dear", 0.9, 9_000), entry("blind", 0.7, 10, "sees_no_images")]
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(decisions_path(tmp_path / "loupe.sqlite"))
    db.executescript(TABLES)
    yield db
    db.close()


def decide(db: sqlite3.Connection, number: int, decided: str = "drawn", propensity: float | None = 0.25) -> None:
    row = (f"r{number}", float(number), "acme", "small", 1_500, decided, propensity, CANDIDATES)
    db.execute(f"INSERT INTO decisions VALUES({','.join('?' * 8)})", row)
    db.execute("INSERT INTO labels VALUES(?, 'client', 1.0, 0.5, 5.0)", (row[0],))
    db.commit()


def read(tmp_path: Path, since: float = 0.0, limit: int = 100) -> list[LabelledRow]:
    return list(LabelledLog(decisions_path(tmp_path / "loupe.sqlite")).labelled_rows(since, limit))


def test_a_row_has_what_could_have_served_and_what_did(log: sqlite3.Connection, tmp_path: Path) -> None:
    decide(log, 1)
    (row,) = read(tmp_path)
    forecasts = {"small": (0.5, 1e-6), "dear": (0.9, 9e-6)}
    assert row == LabelledRow("acme", "small", 1.0, 1.5e-6, 0.25, 0.5, forecasts)


def test_the_last_label_of_a_request_counts(log: sqlite3.Connection, tmp_path: Path) -> None:
    decide(log, 1)
    log.execute("INSERT INTO labels VALUES('r1', 'grader', 0.25, 1.0, 9.0)")
    log.execute("INSERT INTO labels VALUES('r1', 'older', 0.75, 1.0, 1.0)")
    log.commit()
    (row,) = read(tmp_path)
    assert (row.score, row.label_probability) == (0.25, 1.0)


def test_the_newest_come_and_those_without_a_propensity_do_not(log: sqlite3.Connection, tmp_path: Path) -> None:
    for number in range(1, 6):
        decide(log, number)
    decide(log, 7, decided="pinned", propensity=None)
    decide(log, 8, decided="drawn", propensity=None)
    decide(log, 9, decided="determined", propensity=1.0)
    assert [row.propensity for row in read(tmp_path)] == [1.0, *[0.25] * 5]
    assert len(read(tmp_path, since=3.0)) == 3
    assert [row.propensity for row in read(tmp_path, limit=2)] == [1.0, 0.25]


def test_without_a_log_there_are_no_rows(tmp_path: Path) -> None:
    assert read(tmp_path) == []
