"""What was spent on whom: summed by the hour, over processes, restarts and a file that is away for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from gateway.outcomes.spend import KEPT_HOURS, CandidateSpend, SqliteSpend
from tests.fakes.records import record

HOUR_S = 3_600.0
NOON = 1_767_614_400.0


def never(where: str, error: BaseException) -> None:
    raise AssertionError(where) from error


def spend(path: Path, report: Callable[[str, BaseException], None] = never) -> SqliteSpend:
    found = SqliteSpend(path / "spend.sqlite", report)
    rows = [("acme", "small", 5), ("acme", "large", 100), ("acme", "small", 7), ("other", "small", 1)]
    for number, (tenant, candidate, cost) in enumerate(rows):
        found.observe(record(started_at=NOON + 60.0 * number, tenant=tenant, candidate=candidate, cost=cost))
    found.observe(record(started_at=NOON, tenant="acme", candidate=None, cost=0))  # refused: nobody served
    found.observe(record(started_at=NOON - 1.0, tenant="acme", candidate="small", cost=1_000))
    return found


def test_each_candidate_has_its_requests_and_their_cost_the_dearest_first(tmp_path: Path) -> None:
    async def run() -> None:
        found = spend(tmp_path)
        large, small = CandidateSpend("acme", "large", 1, 100), CandidateSpend("acme", "small", 2, 12)
        assert await found.by_candidate(NOON, "acme") == [large, small]
        assert await found.by_candidate(NOON + HOUR_S - 1, "acme") == [large, small], "the hour counts whole"
        assert await found.by_candidate(NOON + HOUR_S, "acme") == []
        assert await found.by_candidate(0.0, "acme") == [CandidateSpend("acme", "small", 3, 1_012), large]
        assert await found.by_candidate(NOON) == [large, small, CandidateSpend("other", "small", 1, 1)]

    asyncio.run(run())


def test_processes_and_restarts_add_up(tmp_path: Path) -> None:
    async def run() -> None:
        for _ in range(3):
            await spend(tmp_path).flush()
        assert (await spend(tmp_path).by_candidate(NOON, "other")) == [CandidateSpend("other", "small", 4, 4)]

    asyncio.run(run())


def test_what_can_not_be_written_is_written_later(tmp_path: Path) -> None:
    async def run() -> None:
        said: list[str] = []
        found = spend(tmp_path, lambda where, error: said.append(f"{where}: {error}"))
        (tmp_path / "spend.sqlite").mkdir()
        await found.flush()
        found.observe(record(started_at=NOON, tenant="other", candidate="small", cost=2))
        await found.flush()
        assert len(said) == 2
        assert "spend.sqlite" in said[0]
        (tmp_path / "spend.sqlite").rmdir()
        assert await found.by_candidate(NOON, "other") == [CandidateSpend("other", "small", 2, 3)]

    asyncio.run(run())


def test_what_is_long_ago_is_forgotten(tmp_path: Path) -> None:
    async def run() -> None:
        found = spend(tmp_path)
        await found.flush()
        found.observe(record(started_at=NOON + KEPT_HOURS * HOUR_S, tenant="acme", candidate="small", cost=3))
        assert (await found.by_candidate(0.0, "acme"))[-1] == CandidateSpend("acme", "small", 3, 15)
        found.observe(record(started_at=NOON + (KEPT_HOURS + 1) * HOUR_S, tenant="acme", candidate="small", cost=3))
        assert await found.by_candidate(0.0, "acme") == [CandidateSpend("acme", "small", 2, 6)]

    asyncio.run(run())
