"""The ledger in thirty lines: every hold and every charge is kept, and what a window stands at is added up anew."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gateway.billing.reservation import Grant, OverLimit, Reservation
from gateway.billing.window import Window


@dataclass(slots=True)
class Reference:
    """What a store must answer, and how its windows must stand: every hold is kept, and nothing else."""

    made: dict[str, tuple[Reservation, int]] = field(default_factory=dict)
    ends_at: dict[str, float] = field(default_factory=dict)
    """Of holds that stand."""
    expired: set[str] = field(default_factory=set)
    """Holds that were charged in full, until the truth is told."""
    spent: Counter[str] = field(default_factory=Counter)

    def stands(self, window: Window) -> tuple[int, int]:
        keys = {window.key, *window.earlier}
        standing = [self.made[name] for name in self.ends_at]
        held = sum(
            takes(part, amount, reservation.tokens, reservation.requests)
            for reservation, amount in standing
            for part in counters(reservation)
            if part.key in keys
        )
        return sum(self.spent[key] for key in keys), held

    def reserve(self, reservation: Reservation, now: float) -> Grant | OverLimit:
        if reservation.id in self.made:
            return Grant(self.made[reservation.id][1], None)
        left = {window: window.limit - sum(self.stands(window)) for window in reservation.windows}
        for window in [window for window in reservation.windows if not window.soft]:
            needed = takes(window, reservation.min_budget, reservation.tokens, reservation.requests)
            if left[window] < needed and (window.unit != "usd" or reservation.max_cost):
                return OverLimit(window, max(left[window], 0), self.stands(window)[1])
        money = [left[window] for window in reservation.windows if window.unit == "usd" and not window.soft]
        amount = max(0, min([reservation.max_cost, *money]))
        self.made[reservation.id], self.ends_at[reservation.id] = (reservation, amount), now + reservation.ttl_s
        over = [
            w.key
            for w in reservation.windows
            if w.soft and left[w] < takes(w, amount, reservation.tokens, reservation.requests)
        ]
        return Grant(amount, min(money) - amount if money else None, tuple(dict.fromkeys(over)))

    def settle(self, name: str, charge: int, tokens: int) -> bool:
        stood = self.ends_at.pop(name, None) is not None
        reservation, amount = self.made[name]
        for window in counters(reservation) if stood or name in self.expired else ():
            self.spent[window.key] += takes(window, charge, tokens, reservation.requests)
            if not stood:
                self.spent[window.key] -= takes(window, amount, reservation.tokens, reservation.requests)
        is_late = not stood and name in self.expired
        self.expired.discard(name)
        return stood or is_late

    def renew(self, name: str, until: float) -> None:
        if name in self.ends_at:
            self.ends_at[name] = max(self.ends_at[name], until)

    def expire(self, now: float) -> None:
        for name in [name for name, end in self.ends_at.items() if end <= now]:
            reservation, amount = self.made[name]
            self.settle(name, amount, reservation.tokens)
            self.expired.add(name)


def counters(reservation: Reservation) -> list[Window]:
    """A window that has several limits counts once."""
    keys = [window.key for window in reservation.windows]
    return [window for place, window in enumerate(reservation.windows) if window.key not in keys[:place]]


def takes(window: Window, money: int, tokens: int, requests: int) -> int:
    return {"usd": money, "tokens": tokens, "requests": requests}[window.unit]
