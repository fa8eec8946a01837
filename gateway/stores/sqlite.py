"""The embedded store: one SQLite file in WAL mode for budgets and outcomes.

Reservations and settlements of one turn of the event loop share one transaction, run on the loop itself: with
`synchronous=NORMAL` a commit is a write into the page cache and takes tens of microseconds, less than handing it
to a thread would. Waiting never happens on the loop: a lock held by another process is asked for again later, and
checkpoints, which do touch the disk, run in a thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gateway.core.budget import Window
from gateway.core.record import RequestRecord
from gateway.stores.base import Balance, Granted, Hold, Refused, StoreError
from gateway.stores.outcome_rows import INSERT_OUTCOME, OUTCOMES_SCHEMA, row_of

LOCK_RETRY_S = 0.002
LOCK_PATIENCE_S = 5.0
EXPIRY_SCAN_S = 1.0
CHECKPOINT_S = 2.0
OUTCOME_FLUSH_S = 0.02
KEEP_SETTLED_S = 86_400.0
LARGEST_OUTCOME_QUEUE = 100_000
LARGEST_AMOUNT = 10**18
"""Nanodollars; SQLite's integers end at nine times that."""
ROWS_PER_SCAN = 5_000
BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS windows(
    key TEXT PRIMARY KEY, spent INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS holds(
    id TEXT PRIMARY KEY, windows TEXT NOT NULL, amount INTEGER NOT NULL, charge INTEGER,
    state TEXT NOT NULL, changed_at REAL NOT NULL, expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS holds_due ON holds(expires_at) WHERE state = 'held';
CREATE INDEX IF NOT EXISTS holds_done ON holds(changed_at) WHERE state != 'held';
{OUTCOMES_SCHEMA}
"""

Operation = Callable[[], Any]


class SqliteStore:
    """Implements `BudgetStore` and `OutcomeStore`. `clock` gives seconds since the epoch."""

    def __init__(self, path: Path | str, clock: Callable[[], float]) -> None:
        self._path = str(path)
        self._clock = clock
        self._waiting: list[tuple[Operation, asyncio.Future[Any]]] = []
        self._locked_since: float | None = None
        self._outcomes: list[RequestRecord] = []
        self.outcomes_lost = 0
        self._last_scan: float | None = None
        self._outcome_timer: asyncio.TimerHandle | None = None
        self._checkpoint: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Create or open the file. Raises StoreError when it can not be had."""
        try:
            self._db = self._connect()
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error
        self._loop = asyncio.get_running_loop()
        self._checkpoint = self._loop.create_task(self._checkpoint_for_ever())

    async def close(self) -> None:
        """Write what is waiting and close the file."""
        if self._checkpoint is not None:
            self._checkpoint.cancel()
            await asyncio.gather(self._checkpoint, return_exceptions=True)
        while self._waiting:
            self._flush()
            await asyncio.sleep(LOCK_RETRY_S if self._waiting else 0)
        for _ in range(int(LOCK_PATIENCE_S / LOCK_RETRY_S)):
            if not self._flush_outcomes():
                break
            await asyncio.sleep(LOCK_RETRY_S)
        if self._outcome_timer is not None:
            self._outcome_timer.cancel()
        self._db.close()

    async def reserve(self, hold: Hold) -> Granted | Refused:
        _check_amount(hold.ceiling)
        result: Granted | Refused = await self._ask(lambda: self._reserve(hold))
        return result

    async def settle(self, hold_id: str, charge: int) -> bool:
        _check_amount(charge)
        result: bool = await self._ask(lambda: self._settle(hold_id, charge, "settled"))
        return result

    async def balances(self, windows: Sequence[Window]) -> list[Balance]:
        result: list[Balance] = await self._ask(
            lambda: [Balance(window, *self._window(window.key)) for window in windows]
        )
        return result

    def observe(self, record: RequestRecord) -> None:
        if len(self._outcomes) >= LARGEST_OUTCOME_QUEUE:
            self.outcomes_lost += 1
            return
        if not self._outcomes:
            self._outcome_timer = self._loop.call_later(OUTCOME_FLUSH_S, self._flush_outcomes)
        self._outcomes.append(record)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=LOCK_PATIENCE_S, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA wal_autocheckpoint = 8000")
            db.executescript(SCHEMA)
            db.execute("PRAGMA busy_timeout = 0")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _ask(self, operation: Operation) -> asyncio.Future[Any]:
        """Queue an operation for the next transaction. It is carried out even when nobody waits for it any more."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        if not self._waiting:
            self._loop.call_soon(self._gather)
        self._waiting.append((operation, answer))
        return answer

    def _gather(self) -> None:
        """Let the loop come around once more: on a busy one others join the transaction, on an idle one it is at once."""
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Carry out what is waiting, in order, in one transaction."""
        if not self._waiting or not self._begin():
            return
        batch, self._waiting = self._waiting, []
        try:
            self._expire(self._clock())
            results = [operation() for operation, _ in batch]
            self._db.execute("COMMIT")
        except Exception as error:  # whatever it is: nobody may wait for ever, and no transaction may stay open
            self._roll_back()
            self._answer(batch, [StoreError(str(error))] * len(batch))
            return
        self._answer(batch, results)

    def _begin(self) -> bool:
        """Open a transaction; when another process holds the lock, come back later instead."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            now = self._loop.time()
            self._locked_since = self._locked_since or now
            if _is_busy(error) and now - self._locked_since <= LOCK_PATIENCE_S:
                self._loop.call_later(LOCK_RETRY_S, self._flush)
            else:
                batch, self._waiting, self._locked_since = self._waiting, [], None
                self._answer(batch, [StoreError(str(error))] * len(batch))
            return False
        self._locked_since = None
        return True

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # SQLite has rolled back by itself after some faults
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

    def _reserve(self, hold: Hold) -> Granted | Refused:
        amount, remaining = hold.ceiling, None
        for window in hold.windows:
            spent, held = self._window(window.key)
            left = window.limit - spent - held
            if left < hold.floor and hold.ceiling > 0:
                return self._standing(hold) or Refused(window, max(left, 0), held)
            amount = max(min(amount, left), 0)
            remaining = left if remaining is None else min(remaining, left)
        now = self._clock()
        made = self._db.execute(
            "INSERT INTO holds VALUES(?, ?, ?, NULL, 'held', ?, ?) ON CONFLICT(id) DO NOTHING",
            (hold.id, "\n".join([w.key for w in hold.windows]), amount, now, now + hold.lease_s),
        )
        if made.rowcount == 0 and (standing := self._standing(hold)):
            return standing
        for window in hold.windows:
            self._db.execute(
                "INSERT INTO windows(key, held) VALUES(?, ?)"
                " ON CONFLICT(key) DO UPDATE SET held = held + excluded.held",
                (window.key, amount),
            )
        return Granted(amount, None if remaining is None else remaining - amount)

    def _standing(self, hold: Hold) -> Granted | None:
        """The hold that was made under this id before."""
        row = self._db.execute("SELECT amount FROM holds WHERE id = ?", (hold.id,)).fetchone()
        return Granted(row[0], None) if row else None

    def _settle(self, hold_id: str, charge: int, state: str) -> bool:
        row = self._db.execute(
            "UPDATE holds SET state = ?, charge = ?, changed_at = ? WHERE id = ? AND state = 'held'"
            " RETURNING amount, windows",
            (state, charge, self._clock(), hold_id),
        ).fetchone()
        if row is None:
            return False
        amount, keys = row
        for key in keys.split("\n") if keys else ():
            self._db.execute(
                "UPDATE windows SET held = held - ?, spent = spent + ? WHERE key = ?", (amount, charge, key)
            )
        return True

    def _window(self, key: str) -> tuple[int, int]:
        row = self._db.execute("SELECT spent, held FROM windows WHERE key = ?", (key,)).fetchone()
        return (row[0], row[1]) if row else (0, 0)

    def _expire(self, now: float) -> None:
        """Charge holds whose holder is gone, in full: nobody knows how much of them was spent. Now and then only."""
        if self._last_scan is not None and abs(now - self._last_scan) < EXPIRY_SCAN_S:  # the clock may be set back
            return
        self._last_scan = now
        due = self._db.execute(
            "SELECT id, amount FROM holds WHERE state = 'held' AND expires_at <= ? LIMIT ?", (now, ROWS_PER_SCAN)
        ).fetchall()
        for hold_id, amount in due:
            self._settle(hold_id, amount, "expired")
        self._db.execute(
            "DELETE FROM holds WHERE id IN (SELECT id FROM holds WHERE state != 'held' AND changed_at < ? LIMIT ?)",
            (now - KEEP_SETTLED_S, ROWS_PER_SCAN),
        )

    def _flush_outcomes(self) -> bool:
        """Write the outcomes that wait; True when some still do."""
        records = self._outcomes
        if not records:
            return False
        try:
            self._write_outcomes(records)
        except sqlite3.OperationalError:  # locked, or the disk is full: keep them and try again
            self._outcome_timer = self._loop.call_later(OUTCOME_FLUSH_S, self._flush_outcomes)
            return True
        except Exception:  # a row that no table takes must not keep the others back
            self._write_one_by_one(records)
        self._outcomes = []
        return False

    def _write_outcomes(self, records: Sequence[RequestRecord]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(INSERT_OUTCOME, map(row_of, records))
            self._db.execute("COMMIT")
        except Exception:
            self._roll_back()
            raise

    def _write_one_by_one(self, records: Sequence[RequestRecord]) -> None:
        for record in records:
            try:
                self._write_outcomes([record])
            except Exception:
                self.outcomes_lost += 1

    async def _checkpoint_for_ever(self) -> None:
        while True:
            await asyncio.sleep(CHECKPOINT_S)
            await asyncio.to_thread(self._checkpoint_once)

    def _checkpoint_once(self) -> None:
        try:
            db = sqlite3.connect(self._path, timeout=0)
            try:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            finally:
                db.close()
        except sqlite3.Error:  # the next one will do
            return


def _check_amount(nanodollars: int) -> None:
    if not 0 <= nanodollars <= LARGEST_AMOUNT:
        raise StoreError(f"{nanodollars} nanodollars are no amount that can be kept")


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in BUSY_CODES
