"""The saved states of pacing, one row per paced tenant or key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway.stores.sqlite.secondary import transaction


class SqlitePacingStore:
    """Implements `PaceStates`; blocking. Each call opens its own connection.

    Rows are tens of kilobytes, read once and written rarely.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, owner: str) -> str | None:
        with transaction(self._path) as db:
            found = db.execute("SELECT state FROM paces WHERE owner = ?", (owner,)).fetchone()
        return None if found is None else str(found[0])

    def write(self, states: Mapping[str, str]) -> None:
        with transaction(self._path) as db:
            db.executemany("INSERT OR REPLACE INTO paces(owner, state) VALUES(?, ?)", states.items())
