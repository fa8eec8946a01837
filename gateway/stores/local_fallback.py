"""Service while the ledger is away, within an allowance that was set aside before.

Each process holds a small part of every budget that it sees used: an ordinary reservation, made while the ledger
answered. While the ledger is away, requests are granted out of that lease; once it is back, what was spent of the lease
is settled. So nothing is ever overspent. The cost: that part of a budget is unavailable to other processes (`set_aside`
says how much), and a process that dies is charged its lease in full. Limits of requests and tokens and soft budgets are
not enforced meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.billing.reservation import Balance, Grant, OverLimit, Reservation
from gateway.billing.store import BudgetStore
from gateway.billing.window import Window
from gateway.errors import StoreError

TEND_S = 1.0
LEASE_S = 3_600.0
UNUSED_S = 600.0
"""Seconds after which the lease of an unused budget is given back."""


@dataclass(frozen=True, slots=True)
class LocalAllowance:
    """The options: `amount` nanodollars of each budget. `name` distinguishes this process from all others, for ever."""

    amount: int
    name: str
    tend_s: float = TEND_S


@dataclass(slots=True)
class _Lease:
    reservation: Reservation
    amount: int
    used_at: float
    spent: int = 0
    local: dict[str, int] = field(default_factory=dict)
    """Reservations granted out of this lease -> their amounts."""

    @property
    def left(self) -> int:
        return self.amount - self.spent - sum(self.local.values())


class LocalFallbackStore:
    """Implements `BudgetStore` on top of another store. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        inner: BudgetStore,
        clock: Callable[[], float],
        options: LocalAllowance,
        announce: Callable[[str], None],
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._options = options
        self._announce = announce
        self._leases: dict[tuple[str, ...], _Lease] = {}
        self._wanted: dict[tuple[str, ...], Reservation] = {}
        self._made = 0
        self._away = False
        self._tending: asyncio.Task[None] | None = None

    @property
    def set_aside(self) -> int:
        """Nanodollars of all budgets that this process holds in its leases."""
        return sum(lease.amount for lease in self._leases.values())

    async def open(self) -> None:
        self._tending = asyncio.ensure_future(self._tend_for_ever())

    async def close(self) -> None:
        """Give back what is left of the leases."""
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
        for windows in list(self._leases):
            await self._give_back(windows)

    async def reserve(self, reservation: Reservation) -> Grant | OverLimit:
        try:
            answer = await self._inner.reserve(reservation)
        except StoreError as error:
            separate = next((window for window in reservation.windows if window.separate), None)
            return self._reserve_locally(reservation, error) if separate is None else OverLimit(separate, 0, 0)
        self._returned()
        windows = () if any(window.separate for window in reservation.windows) else _money(reservation.windows)
        if windows and isinstance(answer, Grant):
            key = _names(windows)
            if key in self._leases:
                self._leases[key].used_at = self._clock()
            else:
                self._wanted[key] = reservation._replace(windows=windows)
        return answer

    async def settle(self, hold_id: str, charge: int, tokens: int = 0) -> bool:
        for lease in self._leases.values():
            if hold_id in lease.local:
                del lease.local[hold_id]
                lease.spent += charge
                lease.used_at = self._clock()
                return True
        return await self._inner.settle(hold_id, charge, tokens)

    async def renew(self, hold_ids: Sequence[str], ttl_s: float) -> None:
        local = {hold_id for lease in self._leases.values() for hold_id in lease.local}
        await self._inner.renew([hold_id for hold_id in hold_ids if hold_id not in local], ttl_s)

    async def balances(self, windows: Sequence[Window]) -> list[Balance]:
        """Return the windows' balances. Raises StoreError while the ledger is away.

        Without windows, the call is a health check, and succeeds while there are leases.
        """
        try:
            return await self._inner.balances(windows)
        except StoreError:
            if not windows and self._leases:
                return []
            raise

    async def tend(self) -> None:
        """Take missing leases, settle what was spent, and renew the rest, as far as the ledger answers."""
        try:
            await self._inner.balances(())
        except StoreError:
            return
        self._returned()
        for key, lease in list(self._leases.items()):
            await self._tend_one(key, lease)
        for key, reservation in list(self._wanted.items()):  # a lease that fails now is still wanted
            await self._take(key, reservation.windows)
            self._wanted.pop(key, None)

    async def _tend_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._options.tend_s)
            try:
                await self.tend()
            except StoreError:
                continue  # the ledger went away again; try later

    async def _tend_one(self, key: tuple[str, ...], lease: _Lease) -> None:
        now = self._clock()
        over = any(window.ends_at is not None and window.ends_at <= now for window in lease.reservation.windows)
        unused = now - lease.used_at > UNUSED_S
        if lease.local:  # requests that were granted out of it are in progress
            await self._inner.renew([lease.reservation.id], LEASE_S)
        elif lease.spent or over or unused:
            if not (over or unused):
                self._wanted[key] = lease.reservation
            await self._give_back(key)
        else:
            await self._inner.renew([lease.reservation.id], LEASE_S)

    async def _take(self, key: tuple[str, ...], windows: tuple[Window, ...]) -> None:
        self._made += 1
        tenant = windows[0].key.partition("/")[0]
        name = f"{tenant}/lease.{self._options.name}.{self._made}"
        reservation = Reservation(name, windows, self._options.amount, 1, LEASE_S, requests=0)
        try:
            answer = await self._inner.reserve(reservation)
        except asyncio.CancelledError:  # the process ends, and nothing else would release the reservation
            await self._inner.settle(reservation.id, 0)
            raise
        if isinstance(answer, Grant):
            self._leases[key] = _Lease(reservation, answer.amount, self._clock())

    async def _give_back(self, key: tuple[str, ...]) -> None:
        lease = self._leases.pop(key)
        spent = lease.spent + sum(lease.local.values())  # at the end of the process, requests in progress count in full
        if not await self._inner.settle(lease.reservation.id, spent):
            self._announce(f"a local lease of {lease.amount} nanodollars ended long ago and stays charged whole")

    def _reserve_locally(self, reservation: Reservation, error: StoreError) -> Grant:
        windows = _money(reservation.windows)
        if not windows:
            self._left(error)
            return Grant(reservation.max_cost, None, local=True)
        lease = self._leases.get(_names(windows))
        if lease is None or (lease.left < reservation.min_budget and reservation.max_cost > 0):
            raise error
        self._left(error)
        amount = min(reservation.max_cost, lease.left)
        lease.local[reservation.id] = amount
        lease.used_at = self._clock()
        return Grant(amount, lease.left, local=True)

    def _left(self, error: StoreError) -> None:
        if not self._away:
            self._away = True
            self._announce(f"budgets are enforced locally, within {self.set_aside} nanodollars: {error}")

    def _returned(self) -> None:
        if self._away:
            self._away = False
            self._announce("budgets are enforced by the ledger again")


def _money(windows: Sequence[Window]) -> tuple[Window, ...]:
    return tuple(window for window in windows if window.unit == "usd" and not window.soft)


def _names(windows: Sequence[Window]) -> tuple[str, ...]:
    return tuple(window.key for window in windows)
