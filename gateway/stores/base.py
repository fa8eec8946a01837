"""What is kept between requests: budgets (holds and spend) and outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.budget import Window
from gateway.core.record import RequestRecord


@dataclass(frozen=True, slots=True)
class Hold:
    """Money to be set aside before it is spent: `ceiling` if there is room, never less than `floor` (nanodollars)."""

    id: str
    windows: tuple[Window, ...]
    ceiling: int
    floor: int
    lease_s: float


@dataclass(frozen=True, slots=True)
class Granted:
    """The hold stands. `remaining` is what is left in the tightest window after it (None: no windows)."""

    amount: int
    remaining: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    """Not even the floor fits `window`; `held` of it may yet come back."""

    window: Window
    remaining: int
    held: int


@dataclass(frozen=True, slots=True)
class Balance:
    """Where a window stands, in nanodollars."""

    window: Window
    spent: int
    held: int


class BudgetStore(Protocol):
    """The ledger. Every method is atomic over all the windows it touches."""

    async def reserve(self, hold: Hold) -> Granted | Refused:
        """Set money aside in all windows, or in none. The same id again gives the standing hold."""
        ...

    async def settle(self, hold_id: str, charge: int) -> bool:
        """Turn a hold into spend and free the rest; once: False when there is no such hold or it was settled.

        May be called when `reserve` was cancelled before it answered: it takes effect after that reservation.
        """
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
