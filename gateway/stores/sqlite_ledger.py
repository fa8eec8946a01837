"""The ledger's statements: holds and windows in SQLite, to be called inside a transaction.

Windows are read once and written once a transaction, however many holds touch them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from gateway.stores.base import Granted, Hold, Refused

EXPIRY_SCAN_S = 1.0
KEEP_SETTLED_S = 86_400.0
ROWS_PER_SCAN = 5_000

OLD_HOLDS = "SELECT id FROM holds WHERE state != 'held' AND changed_at < ? LIMIT ?"
"""Settled holds from before a time. It reads the whole table: for a thread, and seldom."""

LEDGER_SCHEMA = """
CREATE TABLE IF NOT EXISTS windows(
    key TEXT PRIMARY KEY, spent INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS holds(
    id TEXT PRIMARY KEY, windows TEXT NOT NULL, amount INTEGER NOT NULL, charge INTEGER,
    state TEXT NOT NULL, changed_at REAL NOT NULL, expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS holds_due ON holds(expires_at) WHERE state = 'held';
"""


class SqliteLedger:
    """Between `begin` and `end` it knows what the windows stand at; any error in between must roll back."""

    def __init__(self, db: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self._db = db
        self._clock = clock
        self._last_scan: float | None = None
        self._windows: dict[str, tuple[int, int]] = {}
        self._changed: set[str] = set()

    def begin(self) -> None:
        """Open a transaction. Raises sqlite3.OperationalError when another process has one open."""
        self._db.execute("BEGIN IMMEDIATE")
        self._windows.clear()
        self._changed.clear()

    def end(self) -> None:
        """Write the windows and commit."""
        if self._changed:
            self._db.executemany(
                "INSERT INTO windows(key, spent, held) VALUES(?, ?, ?)"
                " ON CONFLICT(key) DO UPDATE SET spent = excluded.spent, held = excluded.held",
                [(key, *self._windows[key]) for key in self._changed],
            )
        self._db.execute("COMMIT")

    def window(self, key: str) -> tuple[int, int]:
        """What was spent of a window and what is held of it."""
        known = self._windows.get(key)
        if known is None:
            row = self._db.execute("SELECT spent, held FROM windows WHERE key = ?", (key,)).fetchone()
            known = self._windows[key] = (row[0], row[1]) if row else (0, 0)
        return known

    def reserve(self, hold: Hold) -> Granted | Refused:
        amount, remaining = hold.ceiling, None
        for window in hold.windows:
            spent, held = self.window(window.key)
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
            self._add(window.key, 0, amount)
        return Granted(amount, None if remaining is None else remaining - amount)

    def settle(self, hold_id: str, charge: int, state: str = "settled") -> bool:
        row = self._db.execute(
            "UPDATE holds SET state = ?, charge = ?, changed_at = ? WHERE id = ? AND state = 'held'"
            " RETURNING amount, windows",
            (state, charge, self._clock(), hold_id),
        ).fetchone()
        if row is None:
            return False
        amount, keys = row
        for key in keys.split("\n") if keys else ():
            self._add(key, charge, -amount)
        return True

    def expire(self) -> None:
        """Charge holds whose holder is gone, in full: nobody knows how much of them was spent. Now and then only."""
        now = self._clock()
        if self._last_scan is not None and abs(now - self._last_scan) < EXPIRY_SCAN_S:  # the clock may be set back
            return
        self._last_scan = now
        due = self._db.execute(
            "SELECT id, amount FROM holds WHERE state = 'held' AND expires_at <= ? LIMIT ?", (now, ROWS_PER_SCAN)
        ).fetchall()
        for hold_id, amount in due:
            self.settle(hold_id, amount, "expired")

    def forget(self, hold_ids: Sequence[str]) -> None:
        """Remove settled holds."""
        self._db.executemany("DELETE FROM holds WHERE id = ? AND state != 'held'", [(hold_id,) for hold_id in hold_ids])

    def _add(self, key: str, spent: int, held: int) -> None:
        before = self.window(key)
        self._windows[key] = (before[0] + spent, before[1] + held)
        self._changed.add(key)

    def _standing(self, hold: Hold) -> Granted | None:
        """The hold that was made under this id before."""
        row = self._db.execute("SELECT amount FROM holds WHERE id = ?", (hold.id,)).fetchone()
        return Granted(row[0], None) if row else None
