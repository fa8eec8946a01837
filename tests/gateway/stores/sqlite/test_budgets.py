"""The embedded store among other processes, under kill -9, and on a full disk."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.billing.reservation import Grant, Reservation
from gateway.billing.window import Window
from gateway.errors import StoreError
from gateway.stores.sqlite import ledger as sqlite_ledger
from tests.checks.store_checks import Clock
from tests.gateway.stores.sqlite.files import opened, rows

ROOT = Path(__file__).resolve().parents[4]
WINDOW = Window("acme/total", 1_000, 0.0, None)
LEASE_S = 60.0

HOLDER = """
import asyncio, sys
from gateway.billing.window import Window
from gateway.billing.reservation import Reservation
from gateway.stores.sqlite.budgets import SqliteStore

async def main():
    store = SqliteStore(sys.argv[1], lambda: 1_000.0)
    await store.open()
    window = Window("acme/total", 1_000, 0.0, None)
    await store.reserve(Reservation("settled", (window,), 200, 200, 60.0))
    await store.settle("settled", 150)
    await store.reserve(Reservation("orphan", (window,), 300, 300, 60.0))
    print("held", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""

RESERVER = """
import asyncio, sys
from gateway.billing.window import Window
from gateway.billing.reservation import Grant, Reservation
from gateway.stores.sqlite.budgets import SqliteStore

async def main():
    path, name = sys.argv[1:]
    store = SqliteStore(path, lambda: 1_000.0)
    sys.stdin.readline()
    await store.open()
    window = Window("acme/total", 1_000, 0.0, None)
    granted = 0
    for lap in range(20):
        ids = [f"{name}.{lap}.{i}" for i in range(8)]
        answers = await asyncio.gather(*(store.reserve(Reservation(i, (window,), 7, 7, 60.0)) for i in ids))
        won = [i for i, answer in zip(ids, answers) if isinstance(answer, Grant)]
        await asyncio.gather(*(store.settle(i, 0 if n % 2 else 7) for n, i in enumerate(won)))
        granted += sum(7 for n, _ in enumerate(won) if n % 2 == 0)
    await store.close()
    print(granted)

asyncio.run(main())
"""

FULL_DISK = """
import asyncio, json, resource, sys
from gateway.billing.window import Window
from gateway.billing.reservation import Reservation
from gateway.errors import StoreError
from gateway.stores.sqlite.budgets import SqliteStore

async def main():
    store = SqliteStore(sys.argv[1], lambda: 1_000.0)
    await store.open()
    window = Window("acme/total", 1_000, 0.0, None)
    await store.reserve(Reservation("before", (window,), 10, 10, 60.0))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    faults = []
    for i in range(3):
        try:
            await store.reserve(Reservation(f"full{i}", (window,), 10, 10, 60.0))
        except StoreError as error:
            faults.append(str(error))
    for i in range(2):
        try:
            await store.balances(())
        except StoreError as error:
            faults.append(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await store.balances(())
    await store.reserve(Reservation("after", (window,), 10, 10, 60.0))
    [balance] = await store.balances([window])
    await store.close()
    print(json.dumps({"faults": faults, "held": balance.held}))

asyncio.run(main())
"""


def started(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_process_killed_between_reserve_and_settle_is_charged_its_hold(tmp_path: Path) -> None:
    path = tmp_path / "loupe.sqlite"
    holder = started(HOLDER, str(path))
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGKILL)
        holder.wait(60)

    async def take_over() -> None:
        clock = Clock(1_001.0)
        store = await opened(path, clock)
        [balance] = await store.balances([WINDOW])
        assert (balance.spent, balance.held) == (150, 300)
        clock.now += LEASE_S
        [balance] = await store.balances([WINDOW])
        assert (balance.spent, balance.held) == (450, 0)
        assert await store.settle("orphan", 1) is True, "a late truth corrects the charge"
        [balance] = await store.balances([WINDOW])
        assert (balance.spent, balance.held) == (151, 0)
        await store.close()

    asyncio.run(take_over())


@pytest.mark.slow
def test_processes_that_open_and_spend_together_never_pass_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "loupe.sqlite"
    workers = [started(RESERVER, str(path), f"w{i}") for i in range(3)]
    reports = []
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        out, complaint = worker.communicate(timeout=60)
        assert worker.returncode == 0, complaint
        reports.append(int(out))
    [(spent, held)] = rows(path, "SELECT spent, held FROM windows")
    assert held == 0
    assert spent == sum(reports) == 994


def test_a_lock_held_elsewhere_is_waited_for_without_stopping_the_loop(tmp_path: Path) -> None:
    async def run() -> None:
        store = await opened(tmp_path / "loupe.sqlite")
        other = sqlite3.connect(tmp_path / "loupe.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        reserved = asyncio.ensure_future(store.reserve(Reservation("h", (WINDOW,), 10, 10, LEASE_S)))
        for _ in range(50):  # nobody but this loop lets go of the lock: who waited on the loop would wait in vain
            await asyncio.sleep(0.002)
        assert not reserved.done()
        other.execute("ROLLBACK")
        other.close()
        async with asyncio.timeout(60):
            assert await reserved == Grant(10, 990)
        await store.close()

    asyncio.run(run())


def test_a_lock_that_is_never_given_back_is_an_error_and_no_wait_for_ever(tmp_path: Path) -> None:
    async def run() -> None:
        store = await opened(tmp_path / "loupe.sqlite", lock_patience_s=0.2)
        other = sqlite3.connect(tmp_path / "loupe.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            await store.balances([WINDOW])
        other.execute("ROLLBACK")
        other.close()
        [balance] = await store.balances([WINDOW])
        assert balance.spent == 0
        await store.close()

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["missing folder", "folder", "no database"])
def test_a_file_that_can_not_be_had_is_a_store_error(tmp_path: Path, kind: str) -> None:
    path = {"missing folder": tmp_path / "missing" / "x", "folder": tmp_path, "no database": tmp_path / "text"}[kind]
    if kind == "no database":
        path.write_text("this is no database, whatever its name says\n" * 100)
    with pytest.raises(StoreError, match=str(path)):
        asyncio.run(opened(path))


def test_a_full_disk_is_a_store_error_and_the_store_recovers(tmp_path: Path) -> None:
    worker = started(FULL_DISK, str(tmp_path / "loupe.sqlite"))
    out, complaint = worker.communicate(timeout=60)
    assert worker.returncode == 0, complaint
    report = json.loads(out)
    assert len(report["faults"]) == 3 + 2, "three reservations and two checks of the store's health"
    assert report["held"] == 20


def test_a_check_of_the_stores_health_leaves_no_row(tmp_path: Path) -> None:
    path = tmp_path / "loupe.sqlite"

    async def run() -> None:
        store = await opened(path)
        for _ in range(2):
            assert await store.balances(()) == []
        await store.close()

    asyncio.run(run())
    assert rows(path, "SELECT key FROM windows") == []


def test_settled_holds_are_forgotten_after_a_day(tmp_path: Path) -> None:
    path = tmp_path / "loupe.sqlite"

    async def run() -> None:
        clock = Clock()
        store = await opened(path, clock)
        for name in ("a", "b"):
            await store.reserve(Reservation(name, (WINDOW,), 10, 10, 10 * 86_400.0))
        await store.settle("a", 5)
        clock.now += sqlite_ledger.KEEP_SETTLED_S + 2
        await store.forget()
        [balance] = await store.balances([WINDOW])
        assert (balance.spent, balance.held) == (5, 10)
        await store.close()

    asyncio.run(run())
    assert rows(path, "SELECT id FROM holds") == [("b",)]


def test_what_looks_for_leases_that_end_goes_by_an_index(tmp_path: Path) -> None:
    """Holds grow by one a request, and this is asked every second on the loop."""
    path = tmp_path / "loupe.sqlite"

    async def run() -> None:
        await (await opened(path)).close()

    asyncio.run(run())
    plan = rows(path, "EXPLAIN QUERY PLAN SELECT id FROM holds WHERE state = 'held' AND expires_at <= 5 LIMIT 5")
    assert "INDEX" in plan[0][3], plan


def test_a_jump_of_the_wall_clock_charges_no_reservation_that_its_process_renews(tmp_path: Path) -> None:
    async def story() -> None:
        clock, steady = Clock(), Clock()
        store = await opened(tmp_path / "loupe.sqlite", clock, steady=steady)
        another = await opened(tmp_path / "loupe.sqlite", clock, steady=steady)
        await store.reserve(Reservation("acme/live", (WINDOW,), 300, 300, LEASE_S))
        await store.reserve(Reservation("acme/dead", (WINDOW,), 100, 100, LEASE_S))
        clock.now += 7_200
        for each in (store, another):
            [balance] = await each.balances([WINDOW])
            assert (balance.spent, balance.held) == (0, 400)
        for _ in range(3):
            clock.now, steady.now = clock.now + LEASE_S / 3, steady.now + LEASE_S / 3
            await store.renew(["acme/live"], LEASE_S)
        for each in (store, another):
            [balance] = await each.balances([WINDOW])
            assert (balance.spent, balance.held) == (100, 300)
        assert await store.settle("acme/live", 7) is True
        await store.close()
        await another.close()

    asyncio.run(story())


def test_a_process_that_was_stopped_renews_its_own_before_it_looks_for_ended_leases(tmp_path: Path) -> None:
    async def story() -> None:
        clock = Clock()
        store = await opened(tmp_path / "loupe.sqlite", clock)
        await store.reserve(Reservation("acme/live", (WINDOW,), 300, 300, LEASE_S))
        clock.now += 10 * LEASE_S
        asked = asyncio.ensure_future(store.balances([WINDOW]))  # a request comes first
        await asyncio.sleep(0)
        await store.renew(["acme/live"], LEASE_S)
        [balance] = await asked
        assert (balance.spent, balance.held) == (0, 300)
        await store.close()

    asyncio.run(story())
