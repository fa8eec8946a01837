"""The journal: what it says is what was asked, whatever is cut off at its end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.outcomes.collect.journal import (
    ANSWERED,
    BROKEN,
    FAILED,
    REFUSED,
    Answer,
    Journal,
    JournalState,
    read_journal,
)
from gateway.outcomes.collect.spending_limit import SpendingLimit

ANSWER = {"text": "Answer: 7 \u2028 \ud800", "finish_reason": "stop", "input_tokens": 9, "output_tokens": 3}
ANSWER |= {"cost": 70, "metered": False, "latency_s": 0.5, "prices": "set 1/2"}


def alone() -> None:
    raise AssertionError("somebody else has it")


async def filled(path: Path) -> JournalState:
    journal = Journal(path, alone)
    await journal.begin()
    numbers = await asyncio.gather(*[journal.ask((f"q{n}", "m"), f"form{n}", 100 + n) for n in range(6)])
    assert numbers == [1, 2, 3, 4, 5, 6]
    await journal.end(1, ANSWERED, answer=ANSWER)
    await journal.end(2, REFUSED, reason="http_400")
    await journal.end(3, FAILED, reason="http_429")
    await journal.end(4, BROKEN, reason="broke_off")
    await journal.close()
    return journal.kept


async def reopened(path: Path) -> JournalState:
    journal = Journal(path, alone)
    await journal.begin()
    await journal.close()
    return journal.kept


def test_what_was_written_is_read_back_and_what_was_under_way_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "out" / "journal.jsonl"
    first = asyncio.run(filled(path))
    assert (first.spent, first.uncertain, first.asks) == (70, 103, 6)
    assert sorted(first.holds) == [5, 6]
    kept = asyncio.run(reopened(path))
    assert kept.answers == {("q0", "m"): Answer(**ANSWER)}
    assert kept.refused == {("q1", "m"): "http_400"}
    assert kept.ends == {"answered": 1, "refused": 1, "failed": 1, "broken": 1, "lost": 2}
    assert (kept.spent, kept.uncertain, kept.asks) == (70, 103 + 104 + 105, 6)
    assert not kept.holds
    assert asyncio.run(reopened(path)).ends == kept.ends == read_journal(path).ends


@pytest.mark.parametrize("every", [29, pytest.param(1, marks=pytest.mark.slow)])
def test_a_journal_cut_at_any_byte_is_read_to_its_last_whole_line(tmp_path: Path, every: int) -> None:
    path = tmp_path / "journal.jsonl"
    asyncio.run(filled(path))
    whole = path.read_bytes()
    for end in range(0, len(whole), every):
        path.write_bytes(whole[:end])
        kept = asyncio.run(reopened(path))
        lines = whole[:end].count(b"\n")
        assert kept.asks == min(max(lines - 1, 0), 6)
        assert sum(kept.ends.values()) == kept.asks, "every ask has come to an end"
        assert (kept.spent, len(kept.answers)) == ((70, 1) if lines >= 8 else (0, 0))
        assert asyncio.run(reopened(path)).uncertain == kept.uncertain


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"nonsense", "line 2"),
        (b'{"end": 9, "outcome": "answered"}', "line 2: 9"),
        (b'{"journal": 99}', "format 99"),
        (b"[]", "line 2"),
    ],
)
def test_a_journal_that_is_broken_inside_is_refused(tmp_path: Path, line: bytes, why: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"journal": 1}\n' + line + b'\n{"journal": 1}\n')

    async def opening() -> None:
        Journal(path, alone)

    with pytest.raises(ConfigError, match=why):
        asyncio.run(opening())


def test_one_process_has_it_at_a_time_and_others_say_that_they_wait(tmp_path: Path) -> None:
    def tired() -> None:
        raise TimeoutError("waited long enough")

    async def opening() -> None:
        journal = Journal(tmp_path / "journal.jsonl", tired)
        try:
            with pytest.raises(TimeoutError):
                Journal(tmp_path / "journal.jsonl", tired)
            assert read_journal(tmp_path / "journal.jsonl").asks == 0
        finally:
            await journal.close()
        await Journal(tmp_path / "journal.jsonl", tired).close()

    asyncio.run(opening())


def test_a_cell_that_was_refused_may_be_asked_again(tmp_path: Path) -> None:
    async def asking() -> JournalState:
        journal = Journal(tmp_path / "journal.jsonl", alone)
        await journal.begin()
        await journal.end(await journal.ask(("q", "m"), "f", 1), REFUSED, reason="http_400")
        await journal.end(await journal.ask(("q", "m"), "f", 1), ANSWERED, answer=ANSWER)
        await journal.close()
        return journal.kept

    assert asyncio.run(asking()).refused == {} == asyncio.run(reopened(tmp_path / "journal.jsonl")).refused


def test_a_purse_holds_no_more_than_is_left() -> None:
    spending = SpendingLimit(100, spent=10, uncertain=20)
    assert spending.hold(70) and spending.left == 0
    assert not spending.hold(1) and spending.hold(0)
    spending.settle(70, 30)
    assert (spending.spent, spending.left) == (40, 40)
    assert spending.hold(40)
    spending.lose(40)
    assert (spending.uncertain, spending.held, spending.left) == (60, 0, 0)
