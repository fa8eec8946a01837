"""The embedded store: one SQLite file in WAL mode for budgets.

Reservations and settlements of one turn of the event loop share one transaction, run on the loop itself: with
`synchronous=NORMAL` a commit is a write into the page cache and takes tens of microseconds, less than handing it to a
thread would. The loop never waits: a lock held by another process is requested again later, and checkpoints, which do
touch the disk, run in a thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from gateway.billing.reservation import Balance, Grant, OverLimit, Reservation
from gateway.billing.window import Window
from gateway.errors import StoreError
from gateway.stores.sqlite.file import is_busy, opened
from gateway.stores.sqlite.ledger import (
    KEEP_SETTLED_S,
    OLD_HOLDS,
    OLD_WINDOWS,
    ROWS_PER_SCAN,
    SqliteLedger,
)
from gateway.stores.sqlite.tables import STORE

GATHERING_TURNS = 2
LOCK_RETRY_S = 0.002
LOCK_PATIENCE_S = 5.0
CHECKPOINT_S = 2.0
PROBED_S = 5.0
"""Seconds for which a write that succeeded shows that the file can be written to."""
CHECKPOINTS_PER_SCAN = 300
FORGOTTEN_AT_ONCE = 200
LARGEST_AMOUNT = 10**18
"""The largest amount in nanodollars; SQLite's integers end at nine times that."""

Operation = Callable[[], Any]


class SqliteStore:
    """Implements `BudgetStore`. `clock` gives seconds since the epoch, `monotonic` seconds that no one sets.

    Leases end by `clock`, because processes share them, but not for a while after it jumps (`LeaseClock`). A lock that
    another process holds is waited for up to `lock_patience_s` seconds.
    """

    def __init__(
        self,
        path: Path | str,
        clock: Callable[[], float],
        *,
        lock_patience_s: float = LOCK_PATIENCE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = str(path)
        self._clock = clock
        self._lock_patience_s = lock_patience_s
        self._monotonic = monotonic
        self._waiting: list[tuple[Operation, asyncio.Future[Any]]] = []
        self._renewing = 0
        """The number of renewals in front of what waits."""
        self._locked_since: float | None = None
        self._probe_at = 0.0
        self._tidying: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Create or open the file. Raises StoreError when the file cannot be opened."""
        try:
            self._db = self._connect()
            self._ledger = SqliteLedger(self._db, self._clock, self._monotonic)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error
        self._loop = asyncio.get_running_loop()
        self._tidying = self._loop.create_task(self._tidy_for_ever())

    async def close(self) -> None:
        """Write the waiting operations and close the file."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)
        while self._waiting:
            self._flush()
            await asyncio.sleep(LOCK_RETRY_S if self._waiting else 0)
        self._db.close()

    async def reserve(self, reservation: Reservation) -> Grant | OverLimit:
        _check_amount(reservation.max_cost)
        result: Grant | OverLimit = await self._ask(lambda: self._ledger.reserve(reservation))
        return result

    async def settle(self, hold_id: str, charge: int, tokens: int = 0) -> bool:
        _check_amount(charge)
        _check_amount(tokens)
        result: bool = await self._ask(lambda: self._ledger.settle(hold_id, charge, tokens))
        return result

    async def renew(self, hold_ids: Sequence[str], ttl_s: float) -> None:
        """Renew before the next look for ended leases: a process that was stopped for long must not charge its own."""
        await self._ask(lambda: self._ledger.renew(hold_ids, ttl_s), is_renewal=True)

    async def balances(self, windows: Sequence[Window]) -> list[Balance]:
        if not windows and self._loop.time() >= self._probe_at:
            await self._ask(self._ledger.probe)
            self._probe_at = self._loop.time() + PROBED_S
        result: list[Balance] = await self._ask(
            lambda: [Balance(window, *self._ledger.standing(window)) for window in windows]
        )
        return result

    def _connect(self) -> sqlite3.Connection:
        db = opened(self._path, STORE, self._lock_patience_s)
        try:
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA wal_autocheckpoint = 8000")
            db.execute("PRAGMA busy_timeout = 0")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _ask(self, operation: Operation, *, is_renewal: bool = False) -> asyncio.Future[Any]:
        """Queue an operation for the next transaction. It is carried out even if the caller no longer waits for it."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        if not self._waiting:
            self._loop.call_soon(self._gather, GATHERING_TURNS)
        if is_renewal:
            self._waiting.insert(self._renewing, (operation, answer))
            self._renewing += 1
        else:
            self._waiting.append((operation, answer))
        return answer

    def _gather(self, turns: int) -> None:
        """Wait for a few turns of the loop: on a busy loop other operations join, on an idle loop nothing is lost."""
        if turns:
            self._loop.call_soon(self._gather, turns - 1)
        else:
            self._flush()

    def _flush(self) -> None:
        """Carry out the waiting operations, in order, in one transaction."""
        if not self._waiting or not self._begin():
            return
        (batch, renewals), (self._waiting, self._renewing) = (self._waiting, self._renewing), ([], 0)
        try:
            results = [operation() for operation, _ in batch[:renewals]]
            self._ledger.expire()
            results += [operation() for operation, _ in batch[renewals:]]
            self._ledger.end()
        except Exception as error:  # any error: no caller may wait for ever, and no transaction may stay open
            self._roll_back()
            self._probe_at = 0.0
            self._answer(batch, [StoreError(str(error))] * len(batch))
            return
        self._answer(batch, results)

    def _begin(self) -> bool:
        """Open a transaction. If another process holds the lock, try again later and return False."""
        try:
            self._ledger.begin()
        except sqlite3.Error as error:
            now = self._loop.time()
            self._locked_since = self._locked_since or now
            if is_busy(error) and now - self._locked_since <= self._lock_patience_s:
                self._loop.call_later(LOCK_RETRY_S, self._flush)
            else:
                batch, self._waiting, self._locked_since = self._waiting, [], None
                self._renewing = 0
                self._answer(batch, [StoreError(str(error))] * len(batch))
            return False
        self._locked_since = None
        return True

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # after some errors SQLite has already rolled back
            with suppress(sqlite3.Error):  # a rollback that fails leaves the callers their first error
                self._db.execute("ROLLBACK")

    @staticmethod
    def _answer(batch: list[tuple[Operation, asyncio.Future[Any]]], results: Sequence[Any]) -> None:
        for (_, answer), result in zip(batch, results, strict=True):
            if answer.done():
                continue
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)

    async def _tidy_for_ever(self) -> None:
        """Checkpoint in a thread; sometimes remove what was settled long ago."""
        while True:
            for _ in range(CHECKPOINTS_PER_SCAN):
                await asyncio.to_thread(self._separate, "PRAGMA wal_checkpoint(PASSIVE)")
                await asyncio.sleep(CHECKPOINT_S)
            await self.forget()

    async def forget(self) -> None:
        """Remove reservations settled `KEEP_SETTLED_S` ago and windows that are no longer needed, a few at a time."""
        await self._forget(OLD_HOLDS, self._clock() - KEEP_SETTLED_S, self._ledger.forget)
        await self._forget(OLD_WINDOWS, self._clock(), self._ledger.forget_windows)

    async def _forget(self, query: str, before: float, forget: Callable[[Sequence[str]], None]) -> None:
        while True:
            old = [row[0] for row in await asyncio.to_thread(self._separate, query, before, ROWS_PER_SCAN)]
            for start in range(0, len(old), FORGOTTEN_AT_ONCE):
                await self._ask(partial(forget, old[start : start + FORGOTTEN_AT_ONCE]))
            if len(old) < ROWS_PER_SCAN:
                return

    def _separate(self, statement: str, *values: float) -> list[Any]:
        """Run a statement that may take long on a separate connection, in a thread. Returns no rows after an error."""
        try:
            db = sqlite3.connect(self._path, timeout=0)
            try:
                return db.execute(statement, values).fetchall()
            finally:
                db.close()
        except sqlite3.Error:  # the next call will repeat it
            return []


def _check_amount(nanodollars: int) -> None:
    if not 0 <= nanodollars <= LARGEST_AMOUNT:
        raise StoreError(f"{nanodollars} nanodollars is not an amount that can be stored")
