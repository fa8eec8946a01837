"""The collector: asks cell by cell, row by row, with bounds, a budget and retries, and writes every step to the journal
first.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from gateway.errors import ProviderError
from gateway.outcomes.collect.dataset import Row
from gateway.outcomes.collect.journal import ANSWERED, BROKEN, FAILED, REFUSED, Answer, Cell, Journal
from gateway.outcomes.collect.request import Manner, body_of, form_of, said_in
from gateway.outcomes.collect.spending_limit import SpendingLimit
from gateway.pipeline.charge import Charge
from gateway.providers.base import Provider
from gateway.providers.whole_reply import BrokenReply, read_whole
from gateway.routing.decision import Assessment
from gateway.routing.query import Query

LARGEST_REPLY_BYTES = 64 * 1024 * 1024
LONGEST_WAIT_S = 30.0
CLOSED_AFTER = 10
"""Consecutive cells of one candidate that fail or are refused, after which the candidate is no longer asked."""
NOBODY_HELPS = frozenset({401, 402, 404})
"""Statuses that a provider answers to every cell alike: a wrong key, no money, no such model."""
MODERATED = 403
"""Status with which some providers refuse a question: it concerns only that cell, and asking again does not help."""
MOST_LOST = 3
"""Replies of one cell that may be lost in a run: each counts in full against the budget."""


@dataclass(frozen=True, slots=True)
class Work:
    """A cell to ask: the row, its query for pricing, and the assessment of the candidate."""

    row: Row
    query: Query
    choice: Assessment

    @property
    def cell(self) -> Cell:
        return self.row.id, self.candidate

    @property
    def candidate(self) -> str:
        return self.choice.candidate.name


@dataclass(frozen=True, slots=True)
class CollectSettings:
    """The terms of a run: concurrent requests, in all and per candidate; tries per cell; the first wait in seconds."""

    at_once: int = 16
    at_once_each: int = 4
    tries: int = 8
    first_wait_s: float = 1.0
    seed: int = 0


@dataclass(slots=True)
class CollectTally:
    """The progress of a run. `closed` says why candidates are no longer asked; `failures` counts reasons."""

    done: int = 0
    retries: int = 0
    under_way: int = 0
    closed: dict[str, str] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    out_of_budget: int | None = None
    """Nanodollars that the next cell may cost, if the budget does not have them."""
    stopped: bool = False
    over_ceiling: int = 0
    """Replies that were billed more than their candidate's limits allow: a formula or a price is wrong."""


class Collector:
    """A collector asks the remaining cells. Create it in a running loop; `stop` may be set from a signal handler."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        journal: Journal,
        spending: SpendingLimit,
        terms: CollectSettings,
        manner: Manner,
        progress: Callable[[CollectTally], None],
    ) -> None:
        self.tally = CollectTally()
        self.stop = asyncio.Event()
        self._providers = providers
        self._journal = journal
        self._spending = spending
        self._terms = terms
        self._manner = manner
        self._progress = progress
        self._random = random.Random(terms.seed)  # noqa: S311 - only spreads waits, not for security
        self._in_a_row: dict[str, int] = {}

    async def run(self, work: Sequence[Work]) -> None:
        """Ask all cells, in their order, as far as concurrency, budget and providers allow.

        If the budget cannot hold a cell, the cell waits for the requests in progress; without any, the run ends: no
        later, cheaper cell is asked instead. Raises ConfigError for a journal that cannot be written.
        """
        queues: dict[str, list[tuple[int, Work]]] = {}
        for place, each in reversed(list(enumerate(work))):
            queues.setdefault(each.candidate, []).append((place, each))
        tasks: dict[asyncio.Task[None], str] = {}
        try:
            while not self.stop.is_set():
                following = self._following(queues, list(tasks.values()))
                if following is not None and self._spending.hold(following.choice.max_cost):
                    queues[following.candidate].pop()
                    tasks[asyncio.create_task(self._cell(following))] = following.candidate
                elif tasks:
                    await self._any_of(tasks)
                else:
                    self.tally.out_of_budget = following.choice.max_cost if following else None
                    break
            self.tally.stopped = self.stop.is_set()
            while tasks:
                await self._any_of(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _following(self, queues: Mapping[str, list[tuple[int, Work]]], busy: Sequence[str]) -> Work | None:
        """Return the first cell whose candidate has a free place."""
        if len(busy) >= self._terms.at_once:
            return None
        free = [
            queue[-1]
            for name, queue in queues.items()
            if queue and name not in self.tally.closed and busy.count(name) < self._terms.at_once_each
        ]
        return min(free, key=lambda entry: entry[0])[1] if free else None

    async def _any_of(self, tasks: dict[asyncio.Task[None], str]) -> None:
        """Wait until a task is done or the run is stopped; raise what the task raised."""
        self.tally.under_way = len(tasks)
        self._progress(self.tally)
        stopping = asyncio.ensure_future(self.stop.wait())
        waited = [*tasks] if self.stop.is_set() else [*tasks, stopping]
        try:
            done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        for task in done - {stopping}:
            del tasks[task]  # type: ignore[arg-type]
            task.result()
        self.tally.under_way = len(tasks)
        self._progress(self.tally)

    async def _cell(self, work: Work) -> None:
        """Try one cell, whose ceiling is held, until it is answered, refused, or given up."""
        max_cost = work.choice.max_cost
        attempt, lost = 1, 0
        while (error := await self._attempt(work)) is not None:
            self.tally.failures[error.reason] = self.tally.failures.get(error.reason, 0) + 1
            if error.reached:
                self._spending.lose(max_cost)
                lost += 1
            if self._is_hopeless(work, error) or attempt == self._terms.tries or lost == MOST_LOST:
                break
            if await self._stopped_within(self._wait_s(attempt)) or (
                error.reached and not self._spending.hold(max_cost)
            ):
                break
            self.tally.retries += 1
            attempt += 1
        if error is None:
            self._in_a_row[work.candidate] = 0
            self.tally.done += 1
            return
        if not error.reached:
            self._spending.settle(max_cost, 0)
        self._give_up(work.candidate, error)

    def _is_hopeless(self, work: Work, error: ProviderError) -> bool:
        if error.status in NOBODY_HELPS:
            self.tally.closed[work.candidate] = _told(error)
        return _is_turned_down(error) or work.candidate in self.tally.closed

    def _give_up(self, candidate: str, error: ProviderError) -> None:
        if _is_turned_down(error):
            self.tally.done += 1
        self._in_a_row[candidate] = self._in_a_row.get(candidate, 0) + 1
        if self._in_a_row[candidate] >= CLOSED_AFTER and not self.stop.is_set():
            self.tally.closed.setdefault(
                candidate, f"{CLOSED_AFTER} consecutive cells failed, the last: {_told(error)}"
            )

    async def _attempt(self, work: Work) -> ProviderError | None:
        """Ask once. Settle the held ceiling if there was an answer; else return the error, with the
        ceiling still held.
        """
        max_cost, candidate = work.choice.max_cost, work.choice.candidate
        body = body_of(work.row, work.choice, self._manner)
        number = await self._journal.ask(work.cell, form_of(work.row, work.choice, self._manner), max_cost)
        charge = Charge(work.choice, work.query)
        charge.granted = max_cost
        charge.sent()
        began = time.perf_counter()
        try:
            reply = await self._exchange(candidate.provider, body, f"collect-{number}")
            whole = read_whole(reply, candidate.name)
            text, finish_reason = said_in(whole.body)
        except BrokenReply as error:
            broken = ProviderError(f"{candidate.name}: {error}", reason="broken_reply", reached=True)
            return await self._failed(number, broken)
        except ProviderError as error:
            return await self._failed(number, error)
        if whole.usage is not None:
            charge.billed(whole.usage, whole.output_tokens)
        else:
            charge.seen(whole.output_tokens)
        answer = Answer(
            text=text,
            finish_reason=finish_reason,
            input_tokens=charge.usage.input_tokens,
            output_tokens=charge.usage.output_tokens,
            cost=charge.amount,
            metered=charge.metered,
            latency_s=round(time.perf_counter() - began, 6),
            prices=candidate.prices,
        )
        self._spending.settle(max_cost, answer.cost)
        self.tally.over_ceiling += charge.exceeds_hold
        await self._journal.end(number, ANSWERED, answer=asdict(answer))
        return None

    async def _exchange(self, provider: str, body: bytes, request_id: str) -> bytes:
        """Return the whole reply. Raises ProviderError, with `reached` if the request may have been billed."""
        exchange = await self._providers[provider].send(body, request_id)
        parts, size = [], 0
        try:
            while data := await exchange.read():
                parts.append(data)
                size += len(data)
                if size > LARGEST_REPLY_BYTES:
                    raise ProviderError(f"{provider}: a reply over {LARGEST_REPLY_BYTES} bytes", reason="too_large")
        except ProviderError as error:
            error.reached = True
            raise
        finally:
            exchange.close()
        return b"".join(parts)

    async def _failed(self, number: int, error: ProviderError) -> ProviderError:
        """Note a failure. It cost nothing, unless the provider received the request and the reply was lost."""
        outcome = BROKEN if error.reached else REFUSED if _is_turned_down(error) else FAILED
        await self._journal.end(number, outcome, reason=error.reason)
        return error

    def _wait_s(self, attempt: int) -> float:
        """Return a wait that doubles each time, spread by half, so that requests refused together do not repeat
        together.
        """
        wait: float = min(self._terms.first_wait_s * 2 ** (attempt - 1), LONGEST_WAIT_S)
        return wait * self._random.uniform(0.5, 1.5)

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            return False
        return True


def _is_turned_down(error: ProviderError) -> bool:
    """Return whether the request itself is at fault, so that it is not sent again."""
    return error.blames_request or error.status == MODERATED


def _told(error: ProviderError) -> str:
    """Return the error with the provider's message, but not for key errors, whose message may repeat the key."""
    return str(error) if error.status != 401 else str(error).partition(": ")[0]
