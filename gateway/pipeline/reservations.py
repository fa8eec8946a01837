"""The reservations of the requests in progress: made, kept alive, and always settled, whatever
happens to the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.billing.reservation import Grant, OverLimit, Reservation
from gateway.billing.store import BudgetStore
from gateway.errors import StoreError
from gateway.pipeline.refusals import store_unavailable


class Reservations:
    """The reservations of one process; one instance per process.

    A reservation's lease is short, so that a crashed process is noticed soon; the lease is renewed while its request
    lives. `report` takes errors that must not make a request fail.
    """

    def __init__(
        self,
        store: BudgetStore,
        ttl_s: float,
        report: Callable[[str, BaseException], None],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self.ttl_s = ttl_s
        self._report = report
        self._sleep = sleep
        self._live: set[str] = set()
        self._settling: set[asyncio.Task[Any]] = set()

    async def reserve(self, reservation: Reservation) -> Grant | OverLimit:
        """Reserve in the store. Raises RequestError (503) when the store does not answer."""
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
            await self._store.settle(hold_id, charge, tokens)
        except StoreError as error:  # the reservation exists until its lease ends, and is then charged in full
            self._report("settle", error)
        except asyncio.CancelledError:
            again = asyncio.ensure_future(self._settle_again(hold_id, charge, tokens))
            self._settling.add(again)
            again.add_done_callback(self._settling.discard)
            await asyncio.shield(again)
            raise

    async def renew_for_ever(self) -> None:
        """Renew the live reservations three times per lease."""
        while True:
            await self._sleep(self.ttl_s / 3)
            if self._live:
                try:
                    await self._store.renew(list(self._live), self.ttl_s)
                except StoreError as error:
                    self._report("renew", error)

    async def drain(self) -> None:
        """Wait until every settlement in progress is done."""
        while self._settling:
            await asyncio.gather(*self._settling, return_exceptions=True)

    async def _settle_again(self, hold_id: str, charge: int, tokens: int) -> None:
        try:
            await self._store.settle(hold_id, charge, tokens)
        except StoreError as error:
            self._report("settle", error)
