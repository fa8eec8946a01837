"""The ledger's statements: reservations and windows in SQLite, to be called inside a transaction.

Each window is read once and written once per transaction, however many reservations touch it.
"""

from __future__ import annotations

import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.billing.reservation import Grant, OverLimit, Reservation, counters, grant, share
from gateway.billing.window import Window
from gateway.stores.lease_clock import LeaseClock

EXPIRY_SCAN_S = 1.0
KEEP_SETTLED_S = 86_400.0
ROWS_PER_SCAN = 5_000
OWN_HOLDS = 65_536
PROBE = "/probe"
"""The key of a window of no tenant."""

OLD_HOLDS = "SELECT id FROM holds WHERE state != 'held' AND changed_at < ? LIMIT ?"
"""Reservations settled before a time. The query reads the whole table: run it in a thread, and rarely."""
OLD_WINDOWS = "SELECT key FROM windows WHERE forget_at < ? LIMIT ?"
"""Windows that nothing will read any more; also a query for a thread."""


class _LedgerRow(NamedTuple):
    """A reservation as written. `parts` are the (unit, key) of its windows."""

    amount: int
    tokens: int
    requests: int
    parts: Sequence[tuple[str, str]]


class SqliteLedger:
    """The ledger in one database. Between `begin` and `end` it caches the windows' balances; any error in between must
    roll back.
    """

    def __init__(
        self, db: sqlite3.Connection, clock: Callable[[], float], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._db = db
        self._clock = clock
        self._lease_clock = LeaseClock(clock, monotonic)
        self._last_scan: float | None = None
        self._windows: dict[str, tuple[int, int]] = {}
        self._changed: dict[str, float | None] = {}
        """Windows to write, and when they may be forgotten (None: unchanged)."""
        self._own: OrderedDict[str, _LedgerRow] = OrderedDict()
        """The latest reservations that this process wrote: to settle them, their rows need not be read."""

    def begin(self) -> None:
        """Open a transaction. Raises sqlite3.OperationalError when another process has an open transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        self._windows.clear()
        self._changed.clear()

    def end(self) -> None:
        """Write the windows and commit."""
        if self._changed:
            self._db.executemany(
                "INSERT INTO windows(key, spent, held, forget_at) VALUES(?, ?, ?, ?)"
                " ON CONFLICT(key) DO UPDATE SET spent = excluded.spent, held = excluded.held,"
                " forget_at = coalesce(excluded.forget_at, forget_at)",
                [(key, *self._windows[key], forget_at) for key, forget_at in self._changed.items()],
            )
        self._db.execute("COMMIT")

    def standing(self, window: Window) -> tuple[int, int]:
        """Return the amounts spent and held in a window."""
        spent, held = self._part(window.key)
        for key in window.earlier:
            earlier = self._part(key)
            spent, held = spent + earlier[0], held + earlier[1]
        return spent, held

    def reserve(self, reservation: Reservation) -> Grant | OverLimit:
        answer = grant(reservation, [self.standing(window) for window in reservation.windows])
        if isinstance(answer, OverLimit):
            return self._made_before(reservation) or answer
        now = self._clock()
        windows = counters(reservation.windows)
        lines = "\n".join([_line(window) for window in windows])
        made = self._db.execute(
            "INSERT INTO holds(id, windows, amount, state, changed_at, expires_at, tokens, requests)"
            " VALUES(?, ?, ?, 'held', ?, ?, ?, ?) ON CONFLICT(id) DO NOTHING",
            (
                reservation.id,
                lines,
                answer.amount,
                now,
                now + reservation.ttl_s,
                reservation.tokens,
                reservation.requests,
            ),
        )
        if made.rowcount == 0 and (standing := self._made_before(reservation)):
            return standing
        parts = [(window.unit, window.key) for window in windows]
        self._lease_clock.made(reservation.ttl_s)
        self._own[reservation.id] = _LedgerRow(answer.amount, reservation.tokens, reservation.requests, parts)
        if len(self._own) > OWN_HOLDS:
            self._own.popitem(last=False)
        for window in windows:
            self._add(window.key, 0, share(window.unit, answer.amount, reservation.tokens, reservation.requests))
            self._changed[window.key] = window.forget_at
        return answer

    def settle(self, hold_id: str, charge: int, tokens: int, state: str = "settled") -> bool:
        standing = self._own.pop(hold_id, None) or self._written(hold_id)
        settled = self._db.execute(
            "UPDATE holds SET state = ?, charge = ?, changed_at = ? WHERE id = ? AND state = 'held'",
            (state, charge, self._clock(), hold_id),
        )
        if standing is None:
            return False
        if settled.rowcount == 0:
            return self._correct(hold_id, charge, tokens, standing)
        amount, held_tokens, requests, parts = standing
        for unit, key in parts:
            self._add(key, share(unit, charge, tokens, requests), -share(unit, amount, held_tokens, requests))
        return True

    def _correct(self, hold_id: str, charge: int, tokens: int, standing: _LedgerRow) -> bool:
        """Replace what an expired reservation was charged, which is all of it, by its real spend."""
        corrected = self._db.execute(
            "UPDATE holds SET state = 'settled', charge = ?, changed_at = ? WHERE id = ? AND state = 'expired'",
            (charge, self._clock(), hold_id),
        )
        if corrected.rowcount == 0:
            return False
        amount, held_tokens, requests, parts = standing
        for unit, key in parts:
            self._add(key, share(unit, charge, tokens, requests) - share(unit, amount, held_tokens, requests), 0)
        return True

    def renew(self, hold_ids: Sequence[str], ttl_s: float) -> None:
        """Extend these reservations, if they still exist, to `ttl_s` seconds from now."""
        until = self._clock() + ttl_s
        self._db.executemany(
            "UPDATE holds SET expires_at = max(expires_at, ?) WHERE id = ? AND state = 'held'",
            [(until, hold_id) for hold_id in hold_ids],
        )

    def probe(self) -> None:
        """Write a row and remove it: on a full disk reading works, and only a page that is written shows it."""
        self._db.execute("INSERT OR REPLACE INTO windows(key) VALUES(?)", (PROBE,))
        self._db.execute("DELETE FROM windows WHERE key = ?", (PROBE,))

    def expire(self) -> None:
        """Charge reservations of dead processes in full, because their real spend is unknown. Runs once per
        EXPIRY_SCAN_S.
        """
        now = self._clock()
        if self._last_scan is not None and abs(now - self._last_scan) < EXPIRY_SCAN_S:  # abs: the clock may be set back
            return
        self._last_scan = now
        if not self._lease_clock.may_charge():
            return
        due = self._db.execute(
            "SELECT id, amount, tokens FROM holds WHERE state = 'held' AND expires_at <= ? LIMIT ?",
            (now, ROWS_PER_SCAN),
        ).fetchall()
        for hold_id, amount, tokens in due:
            self.settle(hold_id, amount, tokens, "expired")

    def forget(self, hold_ids: Sequence[str]) -> None:
        """Remove settled reservations."""
        self._db.executemany("DELETE FROM holds WHERE id = ? AND state != 'held'", [(hold_id,) for hold_id in hold_ids])

    def forget_windows(self, keys: Sequence[str]) -> None:
        """Remove windows that nothing will read any more, except windows with an amount held."""
        now = self._clock()
        self._db.executemany(
            "DELETE FROM windows WHERE key = ? AND held = 0 AND forget_at < ?", [(key, now) for key in keys]
        )

    def _written(self, hold_id: str) -> _LedgerRow | None:
        """Read a reservation that another process, or this one before a restart, wrote; None if there is none."""
        row = self._db.execute(
            "SELECT amount, tokens, requests, windows FROM holds WHERE id = ?", (hold_id,)
        ).fetchone()
        if row is None:
            return None
        amount, tokens, requests, lines = row
        return _LedgerRow(amount, tokens, requests, [_parsed(line) for line in lines.split("\n")] if lines else [])

    def _part(self, key: str) -> tuple[int, int]:
        known = self._windows.get(key)
        if known is None:
            row = self._db.execute("SELECT spent, held FROM windows WHERE key = ?", (key,)).fetchone()
            known = self._windows[key] = (row[0], row[1]) if row else (0, 0)
        return known

    def _add(self, key: str, spent: int, held: int) -> None:
        before = self._part(key)
        self._windows[key] = (before[0] + spent, before[1] + held)
        self._changed.setdefault(key, None)

    def _made_before(self, reservation: Reservation) -> Grant | None:
        """Return the grant that was made earlier under this id, or None."""
        row = self._db.execute("SELECT amount FROM holds WHERE id = ?", (reservation.id,)).fetchone()
        return Grant(row[0], None) if row else None


def _line(window: Window) -> str:
    """Return a window's name in a reservation's row: its key, with the unit in front if that is not money."""
    return window.key if window.unit == "usd" else f"{window.unit}:{window.key}"


def _parsed(line: str) -> tuple[str, str]:
    owner, _, _ = line.partition("/")  # a tenant's name holds no colon
    unit, mark, _ = owner.partition(":")
    return (unit, line[len(unit) + 1 :]) if mark else ("usd", line)
