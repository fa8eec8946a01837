"""The request log: a JSON line a request, none lost, whatever becomes of the file."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from gateway.telemetry import request_log as logs
from gateway.telemetry.request_log import RequestLog, line
from tests.fakes.records import record


def test_a_record_is_a_line_of_json(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    log = RequestLog(path)
    log.open()
    log.observe(record())
    log.observe(record(request_id="req_2", cap=None, first_byte_s=None, error_code="broke_off"))
    log.close()
    first, second = (json.loads(text) for text in path.read_text(encoding="utf-8").splitlines())
    assert (first["request_id"], first["prices"]) == ("req_1", "genai-prices 0.2.3")
    assert (first["cost_usd"], first["expected_cost_usd"], first["held_usd"]) == (0.001234567, 0.0015, 0.009)
    assert (first["cap_usd"], first["first_byte_ms"], first["encode_ms"]) == (0.002, 100.0, 4.0)
    assert (second["cap_usd"], second["first_byte_ms"], second["error_code"]) == (None, None, "broke_off")


def test_a_line_says_nothing_of_the_content() -> None:
    assert not {"text", "messages", "key", "prompt"} & set(line(record()).__struct_fields__)


def test_lines_are_added_to_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    for _ in range(2):
        log = RequestLog(path)
        log.open()
        log.observe(record())
        log.close()
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2


def test_lines_of_many_threads_are_all_written(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    log = RequestLog(path)
    log.open()
    one = record()

    def write_many() -> None:
        for _ in range(2_000):
            log.observe(one)

    threads = [threading.Thread(target=write_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert len(path.read_text(encoding="utf-8").splitlines()) == 8_000
    assert log.lost == 0


def test_a_file_that_was_renamed_is_made_anew_when_asked(tmp_path: Path) -> None:
    path, old = tmp_path / "requests.jsonl", tmp_path / "requests.jsonl.1"
    log = RequestLog(path)
    log.open()
    log.observe(record())
    until(lambda: "req_1" in path.read_text(encoding="utf-8"))
    path.rename(old)
    log.reopen()
    until(path.exists)
    log.observe(record(request_id="req_2"))
    log.close()
    assert [each.read_text(encoding="utf-8").count("\n") for each in (old, path)] == [1, 1]
    assert '"req_2"' in path.read_text(encoding="utf-8")


def test_lines_go_on_into_the_old_file_while_the_path_can_not_be_opened(tmp_path: Path) -> None:
    path, old = tmp_path / "requests.jsonl", tmp_path / "requests.jsonl.1"
    log = RequestLog(path)
    log.open()
    path.rename(old)
    path.mkdir()
    log.reopen()
    log.observe(record())
    until(lambda: "req_1" in old.read_text(encoding="utf-8"))
    path.rmdir()
    log.reopen()
    until(path.exists)
    log.close()
    assert log.lost == 0


def test_standard_output_is_not_opened_again() -> None:
    out = io.StringIO()
    with redirect_stdout(out):
        log = RequestLog(None)
        log.open()
        log.reopen()
        log.observe(record())
        log.close()
    assert '"req_1"' in out.getvalue()


def until(is_met: Callable[[], bool]) -> None:
    """Wait for the log's thread."""
    deadline = time.monotonic() + 60
    while not is_met():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_without_a_path_lines_go_to_standard_output() -> None:
    out = io.StringIO()
    with redirect_stdout(out):
        log = RequestLog(None)
        log.open()
        log.observe(record())
        log.close()
    assert json.loads(out.getvalue())["event"] == "request"


def test_a_full_disk_loses_lines_and_counts_them() -> None:
    full = Path("/dev/full")
    assert full.exists(), "this system has no /dev/full"
    log = RequestLog(full)
    log.open()
    log.observe(record())
    log.observe(record())
    log.close()
    assert log.lost == 2


def test_a_file_that_can_not_be_had_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        RequestLog(tmp_path / "missing" / "x").open()


def test_lines_past_a_full_queue_are_only_counted() -> None:
    log = RequestLog(None)
    one = record()
    for _ in range(logs.LARGEST_QUEUE + 2):
        log.observe(one)
    assert log.lost == 2
