"""The reservations of the requests in progress: made, kept alive, and always settled, whatever
happens to the request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.billing.reservation import Grant, OverLimit, Reservation
from gateway.billing.store import BudgetStore
from gateway.errors import StoreError
from gateway.pipeline.refusals import store_unavailable

REPEAT_S = 1.0
"""Seconds between two attempts at the settlements that the store did not take."""
REPEATED_AT_ONCE = 256
LARGEST_BACKLOG = 100_000
"""Settlements that may wait for the store; beyond this, reservations expire and stay charged in full."""


class Reservations:
    """The reservations of one process; one instance per process.

    A reservation's lease is short, so that a crashed process is noticed soon; the lease is renewed while its request
    lives. A settlement that the store does not take is repeated until the store takes it, whatever the store: if the
    lease ends meanwhile, the settlement corrects what the reservation was charged. `report` takes errors that must not
    make a request fail; `monotonic` gives seconds that no one sets.
    """

    def __init__(
        self,
        store: BudgetStore,
        ttl_s: float,
        report: Callable[[str, BaseException], None],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        largest_backlog: int = LARGEST_BACKLOG,
    ) -> None:
        self._store = store
        self.ttl_s = ttl_s
        self._report = report
        self._sleep = sleep
        self._monotonic = monotonic
        self._largest_backlog = largest_backlog
        self._renewed_at = monotonic()
        self._live: set[str] = set()
        self._settling: set[asyncio.Task[Any]] = set()
        self._owed: dict[str, tuple[int, int]] = {}
        """Settlements that the store did not take, the oldest first: reservation -> (charge, tokens)."""
        self._zeros: dict[str, None] = {}
        """Those of them that cost nothing, such as all that were refused while the store was away: they give way."""
        self._repeating: asyncio.Task[None] | None = None

    @property
    def unsettled(self) -> int:
        """The number of settlements that the store has not taken yet."""
        return len(self._owed)

    async def reserve(self, reservation: Reservation) -> Grant | OverLimit:
        """Reserve in the store. Raises RequestError (503) when the store does not answer."""
        if self._monotonic() - self._renewed_at > self.ttl_s / 2:
            await self._renew()  # the process was stopped: a store charges ended leases when it is asked something
        self._live.add(reservation.id)
        try:
            answer = await self._store.reserve(reservation)
        except StoreError as error:
            self._live.discard(reservation.id)
            raise store_unavailable() from error
        if isinstance(answer, OverLimit):
            self._live.discard(reservation.id)
        return answer

    async def settle(self, hold_id: str, charge: int, tokens: int) -> None:
        """Settle even when the request is cancelled meanwhile. Settling again is safe: a
        reservation settles only once.
        """
        self._live.discard(hold_id)
        try:
            await self._settle_once(hold_id, charge, tokens)
        except asyncio.CancelledError:
            again = asyncio.ensure_future(self._settle_once(hold_id, charge, tokens))
            self._settling.add(again)
            again.add_done_callback(self._settling.discard)
            await asyncio.shield(again)
            raise

    async def renew_for_ever(self) -> None:
        """Renew the live reservations three times per lease."""
        while True:
            await self._sleep(self.ttl_s / 3)
            await self._renew()

    async def drain(self) -> None:
        """Wait until every settlement in progress is done, and try once more to settle what the store did not take."""
        while self._settling:
            await asyncio.gather(*self._settling, return_exceptions=True)
        if self._repeating is not None:
            self._repeating.cancel()
            await asyncio.gather(self._repeating, return_exceptions=True)
        await self._settle_owed()
        if self._owed:
            what = f"{len(self._owed)} settlements are lost, their reservations will be charged in full"
            self._report("settle", StoreError(what))

    async def _renew(self) -> None:
        self._renewed_at = self._monotonic()
        if self._live:
            try:
                await self._store.renew(list(self._live), self.ttl_s)
            except StoreError as error:
                self._report("renew", error)

    async def _settle_once(self, hold_id: str, charge: int, tokens: int) -> None:
        try:
            await self._store.settle(hold_id, charge, tokens)
        except StoreError as error:
            self._owe(hold_id, charge, tokens, error)

    def _owe(self, hold_id: str, charge: int, tokens: int, error: StoreError) -> None:
        self._report("settle", error)
        if len(self._owed) >= self._largest_backlog and (charge or tokens):
            self._forget_a_zero()
        if len(self._owed) < self._largest_backlog:
            self._owed.setdefault(hold_id, (charge, tokens))
            if not (charge or tokens):
                self._zeros[hold_id] = None
        if self._repeating is None or self._repeating.done():
            self._repeating = asyncio.ensure_future(self._repeat_for_ever())

    def _forget_a_zero(self) -> None:
        if self._zeros:
            hold_id = next(iter(self._zeros))
            del self._zeros[hold_id], self._owed[hold_id]

    async def _repeat_for_ever(self) -> None:
        while self._owed:
            await self._sleep(REPEAT_S)
            await self._settle_owed()

    async def _settle_owed(self) -> None:
        """Try all settlements that the store did not take, the oldest first; stop when the store takes none."""
        owed = list(self._owed.items())
        for start in range(0, len(owed), REPEATED_AT_ONCE):
            some = owed[start : start + REPEATED_AT_ONCE]
            answers = await asyncio.gather(
                *(self._store.settle(hold_id, *amounts) for hold_id, amounts in some), return_exceptions=True
            )
            taken = [hold_id for (hold_id, _), each in zip(some, answers, strict=True) if isinstance(each, bool)]
            for hold_id in taken:
                self._owed.pop(hold_id, None)
                self._zeros.pop(hold_id, None)
            if not taken:
                return
