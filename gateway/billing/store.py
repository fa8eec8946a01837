"""The interfaces of what is kept between requests: budgets (reservations and spend), and pacing states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.billing.reservation import Balance, Grant, OverLimit, Reservation
from gateway.billing.window import Window


class BudgetStore(Protocol):
    """The ledger. Every method is atomic over all the windows it touches."""

    async def reserve(self, reservation: Reservation) -> Grant | OverLimit:
        """Reserve in all windows, or in none. A repeated id returns the existing reservation and
        reserves nothing more.
        """
        ...

    async def settle(self, hold_id: str, charge: int, tokens: int = 0) -> bool:
        """Turn a reservation into spend (nanodollars, tokens, its requests) and free the rest.

        A reservation whose lease ended was charged in full; its settlement then replaces that charge. Returns False
        when the reservation does not exist or was already settled. May be called when `reserve` was cancelled before
        it answered: the settlement then takes effect after that reservation.
        """
        ...

    async def renew(self, hold_ids: Sequence[str], ttl_s: float) -> None:
        """Extend these reservations, if they still exist, to `ttl_s` seconds from now."""
        ...

    async def balances(self, windows: Sequence[Window]) -> list[Balance]:
        """Return the windows' balances, including all reservations and settlements requested earlier.

        Without windows, the call checks that the store can be written to; a success counts for a few seconds.
        """
        ...


class PaceStates(Protocol):
    """A store of what pacing has learned, as text by owner, so that a restart can continue from it. Blocking."""

    def read(self, owner: str) -> str | None:
        """Return the owner's saved state, or None without one. Raises StoreError."""
        ...

    def write(self, states: Mapping[str, str]) -> None:
        """Save these owners' states, replacing their earlier ones. Raises StoreError."""
        ...
