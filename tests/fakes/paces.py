"""A place for what pacing learns, in memory."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.errors import StoreError


class KeptPaces:
    """Implements `PaceStates`. `fails` lets every call fail; `rows` is what is kept, by owner."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.fails = False

    def read(self, owner: str) -> str | None:
        self._check()
        return self.rows.get(owner)

    def write(self, states: Mapping[str, str]) -> None:
        self._check()
        self.rows.update(states)

    def _check(self) -> None:
        if self.fails:
            raise StoreError("told to fail")


class NothingKept(KeptPaces):
    """Forgets at once."""

    def write(self, states: Mapping[str, str]) -> None:
        """Nothing is kept."""
