"""Holds: what is set aside before it is spent, and the rule by which windows grant or refuse it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.billing.window import Window


class Reservation(NamedTuple):
    """What is to be set aside in every window.

    Attributes:
        max_cost, min_budget: nanodollars: `max_cost` if there is room, never less than `min_budget`.
        ttl_s: seconds after which it is charged in full, unless it was settled or renewed.
        tokens: what windows of tokens set aside: input and output as expected.
        requests: what windows of requests set aside: one, but none for a second attempt at the same request.
    """

    id: str
    windows: tuple[Window, ...]
    max_cost: int
    min_budget: int
    ttl_s: float
    tokens: int = 0
    requests: int = 1


class Grant(NamedTuple):
    """The hold stands.

    Attributes:
        amount: nanodollars.
        remaining: nanodollars that are left in the tightest hard window after it (None: there is none), those apart
            not counted.
        exceeded: keys of soft windows that are over their limit with it.
        local: whether it was granted without the ledger, out of what was set aside before.
    """

    amount: int
    remaining: int | None
    exceeded: tuple[str, ...] = ()
    local: bool = False


@dataclass(frozen=True, slots=True)
class OverLimit:
    """It does not fit `window`, which has `remaining` of its unit left; `held` of it may yet come back."""

    window: Window
    remaining: int
    held: int


@dataclass(frozen=True, slots=True)
class Balance:
    """Where a window stands, in its unit."""

    window: Window
    spent: int
    held: int


def grant(reservation: Reservation, standings: Sequence[tuple[int, int]]) -> Grant | OverLimit:
    """What windows that stand at (spent, held) answer to a hold, in the hold's order of windows.

    A hold of nothing is refused by no window of money: what is free is never blocked.
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
    return tuple(
        window.key
        for window, (spent, held) in zip(reservation.windows, standings, strict=True)
        if window.soft
        and window.limit - spent - held < share(window.unit, amount, reservation.tokens, reservation.requests)
    )


def share(unit: str, money: int, tokens: int, requests: int) -> int:
    """What a window of this unit counts of so many nanodollars, tokens and requests: of a hold as of a charge."""
    if unit == "usd":
        return money
    return tokens if unit == "tokens" else requests
