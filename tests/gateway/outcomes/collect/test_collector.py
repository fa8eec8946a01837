"""The collector on providers that a test steers: how many at once, in which order, within which budget."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.errors import ProviderError
from gateway.outcomes.collect.collector import Collector, CollectSettings, CollectTally, Work
from gateway.outcomes.collect.dataset import Row
from gateway.outcomes.collect.journal import Journal, JournalState
from gateway.outcomes.collect.request import Manner, assess, body_of, query_of
from gateway.outcomes.collect.spending_limit import SpendingLimit
from gateway.outcomes.graders.base import Reference
from gateway.outcomes.graders.exact import Exact
from tests.gateway.billing.makers import candidate

CANDIDATES = (candidate("fast", provider_model="fast"), candidate("slow", provider_model="slow"))
MANNER = Manner("Be brief.", 50)
QUICK = CollectSettings(at_once=6, at_once_each=4, tries=3, first_wait_s=1e-6)


class Reply:
    """Implements `Exchange`: a whole reply."""

    def __init__(self, body: bytes) -> None:
        self._parts = [body[:7], body[7:]]

    @property
    def ended(self) -> bool:
        return not self._parts

    async def read(self) -> bytes:
        return self._parts.pop(0) if self._parts else b""

    def close(self) -> None:
        self._parts.clear()


class Steered:
    """Implements `Provider`: counts what is under way at once; `fails` says what to raise at which call."""

    def __init__(self, fails: Callable[[int, str], ProviderError | None] = lambda _number, _model: None) -> None:
        self.bodies: list[dict[str, object]] = []
        self.most: Counter[str] = Counter()
        self._now: Counter[str] = Counter()
        self._fails = fails

    async def send(self, body: bytes, request_id: str, *, streamed: bool = True) -> Reply:
        asked = json.loads(body)
        self.bodies.append(asked)
        number, model = len(self.bodies), asked["model"]
        for name in (model, "all"):
            self._now[name] += 1
            self.most[name] = max(self.most[name], self._now[name])
        for _ in range(20 if model == "slow" else 2):
            await asyncio.sleep(0)
        for name in (model, "all"):
            self._now[name] -= 1
        error = self._fails(number, model)
        if error is not None:
            raise error
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        choice = {"index": 0, "message": {"role": "assistant", "content": "7"}, "finish_reason": "stop"}
        return Reply(json.dumps({"model": model, "choices": [choice], "usage": usage}).encode())

    async def close(self) -> None:
        return


def row(number: int) -> Row:
    return Row(number, f"q{number}", f"g{number}", f"what is {number}?", None, Reference("7"), Exact(), {})


def work(rows: int) -> list[Work]:
    queries = [(each, query_of(each, MANNER)) for each in map(row, range(rows))]
    return [Work(each, query, assess(query, one)) for each, query in queries for one in CANDIDATES]


def collect(
    path: Path, provider: Steered, todo: Sequence[Work], *, budget: int = 10**12, terms: CollectSettings = QUICK
) -> tuple[CollectTally, JournalState, SpendingLimit]:
    async def collecting() -> tuple[CollectTally, JournalState, SpendingLimit]:
        journal = Journal(path, lambda: None)
        await journal.begin()
        spending = SpendingLimit(budget, spent=journal.kept.spent, uncertain=journal.kept.uncertain)
        providers = {one.provider: provider for one in CANDIDATES}
        collector = Collector(providers, journal, spending, terms, MANNER, lambda _tally: None)
        await collector.run(todo)
        await journal.close()
        return collector.tally, journal.kept, spending

    return asyncio.run(collecting())


def test_no_more_are_under_way_than_allowed_and_every_cell_is_asked_once(tmp_path: Path) -> None:
    few = Steered()
    collect(tmp_path / "few", few, work(30), terms=CollectSettings(at_once=2))
    assert few.most["all"] == 2
    provider = Steered()
    tally, kept, spending = collect(
        tmp_path / "j", provider, work(30), terms=CollectSettings(at_once=8, at_once_each=3)
    )
    assert provider.most["slow"] == 3 and provider.most["fast"] <= 3
    asked = Counter((body["model"], json.dumps(body["messages"])) for body in provider.bodies)
    assert len(asked) == 60 and set(asked.values()) == {1}
    assert tally.done == len(kept.answers) == 60
    assert spending.spent == kept.spent == sum(answer.cost for answer in kept.answers.values())
    assert (spending.held, spending.uncertain) == (0, 0)


def test_a_question_is_asked_with_its_instruction_and_limit() -> None:
    [first, *_] = work(1)
    body = json.loads(body_of(first.row, first.choice, MANNER))
    assert body == {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "what is 0?"}],
        "model": first.choice.candidate.provider_model,
        "max_tokens": 50,
    }


def test_holds_never_exceed_the_budget_and_it_ends_row_by_row(tmp_path: Path) -> None:
    todo = work(30)
    ceilings = {each.candidate: each.choice.max_cost for each in todo}
    budget = sum(ceilings.values()) * 2
    provider = Steered()
    tally, kept, spending = collect(tmp_path / "j", provider, todo, budget=budget)
    assert tally.out_of_budget in ceilings.values() and not tally.stopped
    assert kept.spent == spending.spent <= budget and spending.held == 0
    assert spending.left < max(ceilings.values())
    rows = Counter(cell[0] for cell in kept.answers)
    assert set(list(rows.values())[:-1]) <= {2}, "rows are whole but for the last"
    after, kept, _ = collect(tmp_path / "j", provider, [w for w in todo if w.cell not in kept.answers])
    assert after.out_of_budget is None and len(kept.answers) == len(provider.bodies) == 60


def test_a_reply_that_was_lost_counts_in_full_and_a_refusal_not_at_all(tmp_path: Path) -> None:
    def fails(number: int, _model: str) -> ProviderError | None:
        if number == 1:
            return ProviderError("gone", reason="connection_failed", reached=True)
        return ProviderError("no", reason="http_503", status=503) if number == 2 else None

    todo = work(3)
    tally, kept, spending = collect(tmp_path / "j", Steered(fails), todo)
    assert tally.done == 6 and tally.retries == 2
    assert tally.failures == {"connection_failed": 1, "http_503": 1}
    assert spending.uncertain == kept.uncertain == todo[0].choice.max_cost
    assert kept.ends == {"answered": 6, "refused": 0, "failed": 1, "broken": 1, "lost": 0}


def test_a_lost_reply_is_not_asked_again_where_the_budget_has_no_room_for_another(tmp_path: Path) -> None:
    todo = work(1)[:1]
    error = ProviderError("gone", reason="broke_off", reached=True)
    tally, kept, spending = collect(tmp_path / "j", Steered(lambda *_: error), todo, budget=todo[0].choice.max_cost)
    assert (tally.done, spending.left, spending.held, kept.asks) == (0, 0, 0, 1)


def test_a_cell_whose_replies_are_lost_again_and_again_is_left(tmp_path: Path) -> None:
    todo = work(1)[:1]
    error = ProviderError("gone", reason="broke_off", reached=True)
    provider = Steered(lambda *_: error)
    tally, kept, spending = collect(tmp_path / "j", provider, todo, terms=CollectSettings(first_wait_s=1e-6))
    assert (tally.done, len(provider.bodies), kept.ends["broken"]) == (0, 3, 3)
    assert spending.uncertain == 3 * todo[0].choice.max_cost and spending.held == 0


def test_tries_are_bounded_and_a_failing_candidate_is_closed(tmp_path: Path) -> None:
    error = ProviderError("down", reason="http_500", status=500)
    provider = Steered(lambda _number, model: error if model == "slow" else None)
    tally, kept, spending = collect(tmp_path / "j", provider, work(40))
    assert "10 consecutive cells failed" in tally.closed["slow"]
    assert 30 <= sum(body["model"] == "slow" for body in provider.bodies) <= 3 * 13
    assert sum(cell[1] == "fast" for cell in kept.answers) == 40
    assert (spending.held, spending.uncertain) == (0, 0)


def test_a_wrong_key_closes_a_candidate_at_once(tmp_path: Path) -> None:
    body = json.dumps({"error": {"message": "your key sk-123 is wrong"}}).encode()
    error = ProviderError("pool answered 401", reason="http_401", status=401, body=body)
    provider = Steered(lambda *_: error)
    tally, _, _ = collect(tmp_path / "j", provider, work(40), terms=CollectSettings(at_once=1, first_wait_s=1e-6))
    assert tally.closed == dict.fromkeys(("fast", "slow"), "pool answered 401")
    assert len(provider.bodies) == 2
