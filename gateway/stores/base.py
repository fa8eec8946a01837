"""What is kept between requests: budgets (holds and spend) and outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.core.budget import Window
from gateway.core.hold import Balance, Granted, Hold, Refused
from gateway.core.record import RequestRecord


class BudgetStore(Protocol):
    """The ledger. Every method is atomic over all the windows it touches."""

    async def reserve(self, hold: Hold) -> Granted | Refused:
        """Set aside in all windows, or in none. The same id again gives the standing hold, and claims nothing more."""
        ...

    async def settle(self, hold_id: str, charge: int, tokens: int = 0) -> bool:
        """Turn a hold into spend (nanodollars, tokens, its requests) and free the rest; once: False when there is no
        such hold or it was settled.

        May be called when `reserve` was cancelled before it answered: it takes effect after that reservation.
        """
        ...

    async def renew(self, hold_ids: Sequence[str], lease_s: float) -> None:
        """Let these holds, where they still stand, live for `lease_s` seconds from now."""
        ...

    async def balances(self, windows: Sequence[Window]) -> list[Balance]:
        """Where the windows stand, reservations and settlements asked for earlier included."""
        ...


class OutcomeStore(Protocol):
    """Keeps finished requests; an observer like any other."""

    def observe(self, record: RequestRecord) -> None:
        """Take a finished record. Must not block and must not raise."""
        ...


class StoreError(Exception):
    """The store could not do what was asked (disk full, locked for too long)."""
