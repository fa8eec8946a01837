"""The gateway's SQLite file, read from outside: what was held, what was charged, what was recorded."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.harness.scripted_provider import wait_until


@dataclass(frozen=True)
class Entry:
    """A row of `holds`. Money in nanodollars; `charge` is None while it is held."""

    id: str
    amount: int
    charge: int | None
    state: str
    changed_at: float
    expires_at: float


@dataclass(frozen=True)
class Ledger:
    path: Path

    def entries(self, request_id: str = "") -> list[Entry]:
        """The holds, or those of one request in the order they were taken."""
        found = self._rows(
            "SELECT id, amount, charge, state, changed_at, expires_at FROM holds WHERE id LIKE ? ORDER BY id",
            f"%{request_id}%",
        )
        return [Entry(*row) for row in found]

    def windows(self) -> dict[str, tuple[int, int]]:
        """Window -> (spent, held)."""
        return {key: (spent, held) for key, spent, held in self._rows("SELECT key, spent, held FROM windows")}

    def charged(self) -> int:
        """Everything charged to every hold."""
        return sum(entry.charge or 0 for entry in self.entries())

    def outcome(self, request_id: str) -> dict[str, Any]:
        """The record of a request: it is written a moment after the reply."""
        wait_until(lambda: bool(self._outcomes(request_id)), f"an outcome of {request_id}")
        return self._outcomes(request_id)[0]

    def last_outcome(self, count: int) -> dict[str, Any]:
        """The newest record, once there are `count` of them."""
        wait_until(lambda: len(self._outcomes()) >= count, f"{count} outcomes")
        found = self._outcomes()
        assert len(found) == count, [row["outcome"] for row in found]
        return found[-1]

    def all_outcomes(self, count: int) -> list[dict[str, Any]]:
        """Every record, in the order they began, once there are `count` of them."""
        wait_until(lambda: len(self._outcomes()) >= count, f"{count} outcomes")
        return self._outcomes()

    def count(self) -> int:
        """How many requests are recorded."""
        return len(self._outcomes())

    def assert_settled(self) -> None:
        """No hold stands, every window's hold is zero, and its spend is the sum of what was charged."""
        wait_until(lambda: all(entry.state != "held" for entry in self.entries()), f"settled holds in {self.path}")
        windows = self.windows()
        assert all(held == 0 for _, held in windows.values()), windows
        assert sum(spent for spent, _ in windows.values()) == self.charged()

    def _outcomes(self, request_id: str = "") -> list[dict[str, Any]]:
        path = self.path.with_name("loupe-decisions.sqlite")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as db:
            db.row_factory = sqlite3.Row
            query = "SELECT * FROM decisions WHERE request_id LIKE ? ORDER BY started_at, request_id"
            rows = [dict(row) for row in db.execute(query, (f"{request_id}%",))]
        return [{**row, "attempts": json.loads(row["attempts"])} for row in rows]

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(self._open()) as db:
            return list(db.execute(query, values))

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=60)
