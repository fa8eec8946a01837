"""The spend per candidate, by the hour: for reports, not for budgets, which the ledger keeps.

Requests are summed in memory and written once a second. A process that is killed loses that second of the report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from gateway.errors import StoreError
from gateway.pipeline.record import RequestRecord
from gateway.stores.sqlite.secondary import transaction

HOUR_S = 3_600
FLUSH_S = 1.0
KEPT_HOURS = 32 * 24
ADD = (
    "INSERT INTO spend(tenant, hour, candidate, requests, cost_nanousd) VALUES(?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET "
    "requests = requests + excluded.requests, cost_nanousd = cost_nanousd + excluded.cost_nanousd"
)
SUMS = "SELECT tenant, candidate, SUM(requests), SUM(cost_nanousd) FROM spend WHERE hour >= ?"
GROUPED = " GROUP BY tenant, candidate ORDER BY tenant, 4 DESC, candidate"
Key = tuple[str, int, str]


class SqliteSpend:
    """Implements `Observer` and `SpendReport`. `report` takes errors of writing; the unwritten sums
    are kept for later.
    """

    def __init__(self, path: Path, report: Callable[[str, BaseException], None]) -> None:
        self._path = path
        self._report = report
        self._sums: dict[Key, list[int]] = {}
        self._forgot_at = 0
        self._writing = asyncio.Lock()

    def observe(self, record: RequestRecord) -> None:
        if record.candidate is not None:
            self._add((record.tenant, int(record.started_at // HOUR_S), record.candidate), 1, record.cost)

    async def by_candidate(self, since: float, tenant: str | None = None) -> list[CandidateSpend]:
        await self.flush()
        mine: tuple[str, tuple[str, ...]] = ("", ()) if tenant is None else (" AND tenant = ?", (tenant,))
        values = (int(since // HOUR_S), *mine[1])
        return [CandidateSpend(*row) for row in await asyncio.to_thread(self._read, SUMS + mine[0] + GROUPED, values)]

    async def flush_for_ever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        """Write the sums. After an error they are kept and written with the next ones."""
        async with self._writing:
            sums, self._sums = self._sums, {}
            if not sums:
                return
            try:
                await asyncio.to_thread(self._write, sums)
            except StoreError as error:
                for key, (requests, cost) in sums.items():
                    self._add(key, requests, cost)
                self._report("spend", error)

    def _add(self, key: Key, requests: int, cost: int) -> None:
        sums = self._sums.get(key)
        if sums is None:
            self._sums[key] = [requests, cost]
        else:
            sums[0] += requests
            sums[1] += cost

    def _write(self, sums: dict[Key, list[int]]) -> None:
        newest = max(hour for _, hour, _ in sums)
        with transaction(self._path) as db:
            db.executemany(ADD, [(*key, *amounts) for key, amounts in sums.items()])
            if newest != self._forgot_at:
                db.execute("DELETE FROM spend WHERE hour < ?", (newest - KEPT_HOURS,))
        self._forgot_at = newest

    def _read(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        with transaction(self._path) as db:
            return db.execute(query, values).fetchall()


class CandidateSpend(NamedTuple):
    """The cost of a tenant's finished requests at one candidate, in nanodollars."""

    tenant: str
    candidate: str
    requests: int
    cost: int


class SpendReport(Protocol):
    """A report of the spend per candidate."""

    async def by_candidate(self, since: float, tenant: str | None = None) -> list[CandidateSpend]:
        """Return the spend since the hour of `since` (seconds since the epoch), of all tenants or one; the largest
        first.

        Raises StoreError.
        """
        ...
