"""Reservations: money set aside before it is spent, and the rule by which windows grant or refuse a reservation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.billing.window import Window


class Reservation(NamedTuple):
    """A request to set money aside in every window.

    Windows of the same key are one counter with several limits: a store checks every limit and counts once per key.

    Attributes:
        max_cost, min_budget: nanodollars to set aside: `max_cost` if there is room, never less than `min_budget`.
        ttl_s: seconds after which the reservation is charged in full, unless it was settled or renewed.
        tokens: tokens that token windows set aside: expected input and output.
        requests: requests that request windows set aside: one, but zero for a second attempt at the same request.
    """

    id: str
    windows: tuple[Window, ...]
    max_cost: int
    min_budget: int
    ttl_s: float
    tokens: int = 0
    requests: int = 1


class Grant(NamedTuple):
    """A granted reservation.

    Attributes:
        amount: nanodollars set aside.
        remaining: nanodollars left in the tightest hard window after this reservation; None without a hard window.
            Windows that are `separate` do not count.
        exceeded: keys of soft windows that are over their limit with this reservation.
        local: True if granted without asking the ledger, from money that was set aside earlier.
    """

    amount: int
    remaining: int | None
    exceeded: tuple[str, ...] = ()
    local: bool = False


@dataclass(frozen=True, slots=True)
class OverLimit:
    """A refused reservation: it does not fit `window`.

    `remaining` is what the window has left, in its unit; `held` of the window is reserved and may become free again.
    """

    window: Window
    remaining: int
    held: int


@dataclass(frozen=True, slots=True)
class Balance:
    """The amounts spent and held in a window, in its unit."""

    window: Window
    spent: int
    held: int


def grant(reservation: Reservation, standings: Sequence[tuple[int, int]]) -> Grant | OverLimit:
    """Return what the windows answer to a reservation, given their (spent, held) in the reservation's order of windows.

    No window of money refuses a reservation of nothing: free requests are never blocked.
    """
    max_cost, min_budget = reservation.max_cost, reservation.min_budget
    amount, remaining, any_soft = max_cost, None, False
    for window, (spent, held) in zip(reservation.windows, standings, strict=True):
        left = window.limit - spent - held
        if window.soft:
            any_soft = True
        elif window.unit != "usd":
            if left < share(window.unit, 0, reservation.tokens, reservation.requests):
                return OverLimit(window, max(left, 0), held)
        elif left < min_budget and max_cost > 0:
            return OverLimit(window, max(left, 0), held)
        else:
            if left < amount:
                amount = left if left > 0 else 0
            if not window.separate and (remaining is None or left < remaining):
                remaining = left
    exceeded = _exceeded(reservation, amount, standings) if any_soft else ()
    return Grant(amount, None if remaining is None else remaining - amount, exceeded)


def _exceeded(reservation: Reservation, amount: int, standings: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    found = [
        window.key
        for window, (spent, held) in zip(reservation.windows, standings, strict=True)
        if window.soft
        and window.limit - spent - held < share(window.unit, amount, reservation.tokens, reservation.requests)
    ]
    return tuple(dict.fromkeys(found))  # two soft limits may be of one window


def counters(windows: Sequence[Window]) -> list[Window]:
    """Return one window for each key: what a reservation counts in, however many limits a key has."""
    if len(windows) < 2:
        return list(windows)
    return list({window.key: window for window in windows}.values())


def share(unit: str, money: int, tokens: int, requests: int) -> int:
    """Return the part that a window of this unit counts, out of nanodollars, tokens and requests.

    The rule is the same for a reservation and for a charge.
    """
    if unit == "usd":
        return money
    return tokens if unit == "tokens" else requests
