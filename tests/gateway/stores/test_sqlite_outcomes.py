"""Finished requests in the embedded store: a row each, none lost but for those that no table takes."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from pathlib import Path
from sqlite3 import connect
from typing import Any

import pytest

from gateway.core.budget import Window
from gateway.core.hold import Granted, Hold
from gateway.core.record import RequestRecord
from gateway.stores import sqlite
from gateway.stores.sqlite import SqliteStore

from ..records import record
from .files import opened, rows

WINDOW = Window("acme/total", 1_000, 0.0, None)
LEASE_S = 60.0


def keep(path: Path, *records: RequestRecord) -> SqliteStore:
    """Observe the records and close at once."""

    async def run() -> SqliteStore:
        store = await opened(path)
        for one in records:
            store.observe(one)
        await store.close()
        return store

    return asyncio.run(run())


def test_an_outcome_is_a_row_once_the_store_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "loupe.sqlite"
    keep(path, record(), record(request_id="req_2", candidate=None, cap=None, first_byte_s=None))
    [found] = rows(
        path,
        "SELECT tenant, candidate, cost_nanousd, cap_nanousd, streamed, attempts, dropped, first_byte_ms, encode_ms"
        " FROM outcomes WHERE request_id = 'req_1'",
    )
    assert found[:5] == ("acme", "small", 1_234_567, 2_000_000, 1)
    assert json.loads(found[5]) == [["small", None, 1_234_567]]
    assert json.loads(found[6]) == [["dear", "over_cap"]]
    assert found[7:] == (100.0, 4.0)
    assert rows(path, "SELECT candidate, cap_nanousd, first_byte_ms FROM outcomes WHERE request_id = 'req_2'") == [
        (None, None, None)
    ]


def test_outcomes_are_written_while_the_store_is_open(tmp_path: Path) -> None:
    path = tmp_path / "loupe.sqlite"

    async def run() -> None:
        store = await opened(path)
        store.observe(record())
        async with asyncio.timeout(10):
            while not rows(path, "SELECT 1 FROM outcomes"):
                await asyncio.sleep(0.01)
        store.observe(record(request_id="req_2"))
        await store.close()

    asyncio.run(run())
    assert rows(path, "SELECT count(*) FROM outcomes") == [(2,)]


def test_the_same_request_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "loupe.sqlite"
    keep(path, record(), record(cost=5))
    assert rows(path, "SELECT cost_nanousd FROM outcomes") == [(1_234_567,)]


@pytest.mark.parametrize("odd", [{"cost": 10**30}, {"error_code": "\ud800"}, {"error_code": {"a": 1}}])
def test_a_record_that_can_not_be_kept_keeps_no_other_back(tmp_path: Path, odd: dict[str, Any]) -> None:
    path = tmp_path / "loupe.sqlite"

    async def run() -> SqliteStore:
        store = await opened(path)
        store.observe(record(request_id="first"))
        store.observe(record(request_id="odd", **odd))
        store.observe(record(request_id="last"))
        async with asyncio.timeout(10):
            while len(rows(path, "SELECT 1 FROM outcomes")) < 2:
                await asyncio.sleep(0.01)
            assert isinstance(await store.reserve(Hold("h", (WINDOW,), 10, 10, LEASE_S)), Granted)
        await store.close()
        return store

    assert asyncio.run(run()).outcomes_lost == 1
    assert rows(path, "SELECT request_id FROM outcomes ORDER BY 1") == [("first",), ("last",)]


def test_outcomes_past_a_full_queue_are_only_counted(tmp_path: Path) -> None:
    path = tmp_path / "loupe.sqlite"
    extra = 3
    store = keep(path, *[record()] * (sqlite.LARGEST_OUTCOME_QUEUE + extra))
    assert store.outcomes_lost == extra


def test_a_file_of_an_older_version_gains_the_columns_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "loupe.sqlite"
    keep(path, record())
    added = ("prices", "estimated_cost_nanousd", "estimated_input_tokens", "estimated_output_tokens")
    with closing(connect(path)) as db:
        for name in added:
            db.execute(f"ALTER TABLE outcomes DROP COLUMN {name}")
        db.commit()
    keep(path, record(request_id="req_2", prices="list 1", estimated_cost=5))
    assert rows(path, "SELECT request_id, prices, estimated_cost_nanousd FROM outcomes ORDER BY request_id") == [
        ("req_1", "", 0),
        ("req_2", "list 1", 5),
    ]
