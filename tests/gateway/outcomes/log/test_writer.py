"""The decision log: a row a request, written soon, never in anybody's way; nothing of what was said is in the file."""

from __future__ import annotations

import base64
import json
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.outcomes.log import writer
from gateway.outcomes.log.reader import decision_of, logged_answers
from gateway.outcomes.log.rows import views_of
from gateway.outcomes.log.schema import content_path, decisions_path
from gateway.outcomes.log.writer import DecisionLog
from gateway.pipeline.chat_request import FetchedBytes
from gateway.stores.sqlite.schema import SchemaError
from tests.e2e.harness.scripted_provider import wait_until
from tests.fakes.records import record
from tests.gateway.outcomes.log.made import PICTURE, Encodings, Said, full, keep, log_at, rows, sha256
from tests.gateway.stores.sqlite.layouts import change, lay


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "loupe.sqlite"


def test_a_record_is_a_row_soon_after_and_while_the_log_is_open(store: Path) -> None:
    path = decisions_path(store)
    with log_at(store) as log:
        log.observe(full(1))
        wait_until(lambda: bool(rows(path, "SELECT 1 FROM decisions")), "the row")
        assert log.queued == 0
        assert log.longest_write_s > 0
        log.observe(full(2))
    assert rows(path, "SELECT request_id FROM decisions ORDER BY 1") == [("req_1",), ("req_2",)]


def test_a_refused_request_without_a_decision_is_a_row_too(store: Path) -> None:
    keep(store, record(candidate=None, cap=None, first_byte_s=None, outcome="refused", error_code="model_not_found"))
    found = rows(decisions_path(store), "SELECT candidate, decided, candidates, query_key, propensity FROM decisions")
    assert found == [(None, "unrouted", b"\x90", None, None)]


def test_the_same_request_is_one_row(store: Path) -> None:
    keep(store, full(1), full(1, cost=5))
    assert rows(decisions_path(store), "SELECT cost_nanousd FROM decisions") == [(1_234_567,)]


def test_a_group_of_any_size_is_written_whole(store: Path) -> None:
    count = writer.LARGEST_GROUP * 2 + 77
    keep(store, *[full(number) for number in range(count)])
    assert rows(decisions_path(store), "SELECT count(*), count(DISTINCT query_key) FROM decisions") == [(count, 1)]


@pytest.mark.parametrize("odd", [{"cost": 10**30}, {"error_code": "\ud800"}, {"error_code": {"a": 1}}])
def test_a_record_that_can_not_be_kept_keeps_no_other_back(store: Path, odd: dict[str, Any]) -> None:
    with log_at(store) as log:
        log.observe(full(1))
        log.observe(full(2, **odd))
        log.observe(full(3))
    assert log.lost == 1
    assert rows(decisions_path(store), "SELECT request_id FROM decisions ORDER BY 1") == [("req_1",), ("req_3",)]


def test_records_past_a_full_queue_are_only_counted(store: Path) -> None:
    log = DecisionLog(decisions_path(store), Encodings())
    one = full(1)
    for _ in range(writer.LARGEST_QUEUE + 3):
        log.observe(one)
    assert (log.queued, log.lost) == (writer.LARGEST_QUEUE, 3)


def test_images_are_let_go_of_before_the_queue_takes_too_much_memory(store: Path) -> None:
    log = DecisionLog(decisions_path(store), Encodings())
    large = FetchedBytes(bytes(writer.LARGEST_QUEUE_BYTES // 2), b"k" * 32)
    for number in range(4):
        log.observe(full(number)._replace(sources=(large,)))
    assert (log.queued, log.lost, log.content_lost) == (4, 0, 2 + 1)  # texts take a few bytes, too


def test_text_that_does_not_fit_either_is_counted_as_lost(store: Path) -> None:
    log = DecisionLog(decisions_path(store), Encodings())
    log.observe(full(1, "x" * (writer.LARGEST_QUEUE_BYTES + 1), pictures=()))
    assert (log.queued, log.lost) == (0, 1)


def test_what_waits_behind_a_lock_is_written_once_it_is_gone_and_who_observes_does_not_wait(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "loupe")
    with log_at(store) as log:
        with closing(sqlite3.connect(decisions_path(store), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for number in range(10):
                log.observe(full(number))
            wait_until(lambda: "locked" in caplog.text, "a try that fails")
            log.observe(full(10))  # it returns, though nobody but this thread lets go of the lock
            assert log.queued == 11
            other.execute("ROLLBACK")
        wait_until(lambda: log.queued == 0, "the end of the queue")
    assert log.lost == 0
    assert rows(decisions_path(store), "SELECT count(*) FROM decisions") == [(11,)]


def test_a_file_that_lacks_a_column_keeps_the_log_from_opening(store: Path) -> None:
    keep(store, full(1))
    change(decisions_path(store), "ALTER TABLE decisions DROP COLUMN finish_reason")
    with pytest.raises(SchemaError, match="table decisions lacks finish_reason"):
        DecisionLog(decisions_path(store), Encodings()).open()


def test_a_table_that_changes_under_the_log_loses_rows_aloud_and_holds_nothing_up(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = decisions_path(store)
    with log_at(store) as log:
        change(path, "ALTER TABLE decisions RENAME COLUMN finish_reason TO ended_by")
        for number in range(3):
            log.observe(full(number))
            wait_until(lambda: log.queued == 0, "the end of the queue")
        assert log.lost == 3
        errors = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
        assert len(errors) == 1
        assert errors[0].startswith(f"{path}: table decisions has no column named finish_reason: decisions are lost")
        change(path, "ALTER TABLE decisions RENAME COLUMN ended_by TO finish_reason")
        log.observe(full(7))
        wait_until(lambda: log.queued == 0, "the end of the queue")
        change(path, "DROP TABLE queries")
        log.observe(full(8, "another question"))
    assert log.lost == 4
    assert sum(each.levelname == "ERROR" for each in caplog.records) == 2, "once for each time that it breaks"
    assert rows(path, "SELECT request_id FROM decisions") == [("req_7",)]


def test_a_log_of_before_files_had_versions_is_gone_on_with(store: Path) -> None:
    path = lay("decisions", decisions_path(store))
    lay("content", content_path(store))
    with log_at(store, days=1e6) as log:
        log.observe(full(6, "how many at last?", reply=Said("five")))
    assert (log.lost, log.content_lost) == (0, 0)
    assert rows(path, "SELECT request_id FROM decisions ORDER BY 1") == [(f"req_{n}",) for n in range(1, 7)]
    shown = decision_of(path, "acme", "req_1")
    assert shown is not None
    assert [label["score"] for label in shown["labels"]] == [0.75, 1.0]
    assert [each["candidate"] for each in shown["candidates"]] == ["large", "small", "blind"]
    found = {answer.request_id: (answer.question, answer.reply) for answer in logged_answers(store)}
    assert found == {
        "req_1": ("how many?", "three"),
        "req_2": ("how many now?", "four"),
        "req_6": ("how many at last?", "five"),
    }


def test_two_processes_may_write_one_file(store: Path) -> None:
    with log_at(store) as one, log_at(store) as other:
        for number in range(100):
            (one, other)[number % 2].observe(full(number))
    assert (one.lost, other.lost) == (0, 0)
    assert rows(decisions_path(store), "SELECT count(*) FROM decisions") == [(100,)]


def test_a_query_is_kept_once_with_its_images_and_its_embedding(store: Path) -> None:
    keep(store, full(1), full(2), full(3, "another question", pictures=()))
    found = rows(decisions_path(store), "SELECT images, encoder, views, embedding FROM queries ORDER BY images")
    assert len(found) == 2
    assert found[1][0] == "[]"
    key = full(1).sources[0].key.hex()
    assert json.loads(found[0][0]) == [[key, 640, 480, "auto", sha256()]]
    assert found[0][1] == "encoder-1"
    views = views_of(found[0][2], found[0][3])
    assert {name: view.tolist() for name, view in views.items()} == {"image": [[1, 2]], "text": [[9, 0.5, -1.25]]}


def test_an_embedding_that_comes_later_is_added(store: Path) -> None:
    path = decisions_path(store)
    with log_at(store, encodings=Encodings(unknown=("how many?",))) as log:
        log.observe(full(1))
    assert rows(path, "SELECT encoder, embedding FROM queries") == [(None, None)]
    keep(store, full(2))
    assert rows(path, "SELECT encoder, length(embedding) FROM queries") == [("encoder-1", 10)]
    with log_at(store, encodings=Encodings(digest="encoder-2")) as log:
        log.observe(full(3))
    assert rows(path, "SELECT encoder FROM queries") == [("encoder-2",)]


def test_nothing_that_was_said_or_shown_is_in_the_file_unless_it_was_asked_for(store: Path) -> None:
    question = "what does the confidential slip say?"
    keep(store, *[full(number, f"{question} {number}", reply=Said()) for number in range(20)])
    assert not content_path(store).exists()
    files = [path.read_bytes() for path in store.parent.iterdir()]
    assert files
    for data in files:
        assert b"confidential" not in data
        assert b"own words" not in data
        assert PICTURE[8:40] not in data
        assert base64.b64encode(PICTURE)[8:60] not in data
