"""What is kept between requests: budgets (holds and spend)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.billing.reservation import Balance, Grant, OverLimit, Reservation
from gateway.billing.window import Window


class BudgetStore(Protocol):
    """The ledger. Every method is atomic over all the windows it touches."""

    async def reserve(self, reservation: Reservation) -> Grant | OverLimit:
        """Set aside in all windows, or in none. The same id again gives the standing hold, and claims nothing more."""
        ...

    async def settle(self, hold_id: str, charge: int, tokens: int = 0) -> bool:
        """Turn a hold into spend (nanodollars, tokens, its requests) and free the rest; once: False when there is no
        such hold or it was settled.

        May be called when `reserve` was cancelled before it answered: it takes effect after that reservation.
        """
        ...

    async def renew(self, hold_ids: Sequence[str], ttl_s: float) -> None:
        """Let these holds, where they still stand, live for `ttl_s` seconds from now."""
        ...

    async def balances(self, windows: Sequence[Window]) -> list[Balance]:
        """Where the windows stand, reservations and settlements asked for earlier included."""
        ...


class PaceStates(Protocol):
    """Keeps what pacing has learned, as text by owner, so that a restart goes on with it. Blocking."""

    def read(self, owner: str) -> str | None:
        """None when nothing is kept. Raises StoreError."""
        ...

    def write(self, states: Mapping[str, str]) -> None:
        """In place of what was kept of these. Raises StoreError."""
        ...
