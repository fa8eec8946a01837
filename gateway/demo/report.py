"""The results of the demo: shares, scores and spend, compared with single candidates on the same queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gateway.billing.money import NANODOLLARS
from gateway.demo.ledger import Ledger
from gateway.demo.plan import Outcome
from gateway.providers.replay.drawn_table import SimulatedTable

REFUSALS = frozenset({402, 429})


@dataclass(frozen=True, slots=True)
class ReportPart:
    """The results of one candidate, real or hypothetical: score 0 to 1, spend in nanodollars."""

    candidate: str
    requests: int
    score: float
    spend: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Requests that were refused in the same way, with one of the messages."""

    status: int
    code: str | None
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The report of a run. Money in nanodollars, scores 0 to 1, overhead in milliseconds.

    Attributes:
        routed: all answered requests together; its `candidate` is `routed`.
        served: the requests that each candidate served.
        singles: the results of each candidate if it had answered all these queries, by the simulated table.
        reasons: `X-Route-Reason` of the answered requests -> how many.
        problems: the problems of the run; empty when all is well.
    """

    requests: int
    routed: ReportPart
    served: tuple[ReportPart, ...]
    singles: tuple[ReportPart, ...]
    refusals: tuple[Refusal, ...]
    reasons: Mapping[str, int]
    overhead_p50: float
    overhead_p99: float
    beside_encoding_p50: float
    problems: tuple[str, ...]

    @property
    def uniform(self) -> ReportPart:
        """The average result of picking a candidate at random."""
        count = len(self.singles)
        score = sum(part.score for part in self.singles) / count
        return ReportPart("uniform", self.routed.requests, score, sum(part.spend for part in self.singles) // count)

    @property
    def best(self) -> ReportPart:
        return max(self.singles, key=lambda part: (part.score, -part.spend))

    @property
    def cheapest(self) -> ReportPart:
        return min(self.singles, key=lambda part: part.spend)

    @property
    def dearest(self) -> ReportPart:
        return max(self.singles, key=lambda part: part.spend)


def build_report(table: SimulatedTable, outcomes: Sequence[Outcome], ledger: Ledger, billed: int) -> DemoReport:
    """Build the report. `billed` is the pool's own count of tokens times prices, in nanodollars."""
    answered = [outcome for outcome in outcomes if outcome.is_answered]
    low, high = np.percentile(ledger.overhead_ms or (0.0,), (50, 99))
    return DemoReport(
        requests=len(outcomes),
        routed=ReportPart("routed", len(answered), _score(answered), ledger.charges),
        served=_served(table, answered, ledger),
        singles=_singles(table, answered),
        refusals=_refusals(outcomes),
        reasons=Counter(outcome.reason or "unknown" for outcome in answered),
        overhead_p50=float(low),
        overhead_p99=float(high),
        beside_encoding_p50=float(np.median(ledger.beside_encoding_ms or (0.0,))),
        problems=tuple(_problems(outcomes, ledger, billed)),
    )


def _score(answered: Sequence[Outcome]) -> float:
    return sum(outcome.is_right for outcome in answered) / len(answered) if answered else 0.0


def _served(table: SimulatedTable, answered: Sequence[Outcome], ledger: Ledger) -> tuple[ReportPart, ...]:
    parts = []
    for candidate in table.candidates:
        own = [outcome for outcome in answered if outcome.candidate == candidate.name]
        parts.append(ReportPart(candidate.name, len(own), _score(own), ledger.spend.get(candidate.name, 0)))
    return tuple(parts)


def _singles(table: SimulatedTable, answered: Sequence[Outcome]) -> tuple[ReportPart, ...]:
    rows = {task.id: number for number, task in enumerate(table.tasks)}
    chosen = [rows[outcome.plan.task.id] for outcome in answered]
    right, costs = table.right[chosen], table.costs()[chosen]
    return tuple(
        ReportPart(
            candidate.name,
            len(chosen),
            float(right[:, column].mean()) if chosen else 0.0,
            int(costs[:, column].sum()),
        )
        for column, candidate in enumerate(table.candidates)
    )


def _refusals(outcomes: Sequence[Outcome]) -> tuple[Refusal, ...]:
    refused = [outcome for outcome in outcomes if not outcome.is_answered]
    kinds = Counter((outcome.status, outcome.code) for outcome in refused)
    return tuple(
        Refusal(
            status=status,
            code=code,
            count=count,
            example=next(o.message or "" for o in refused if (o.status, o.code) == (status, code)),
        )
        for (status, code), count in sorted(kinds.items(), key=lambda kind: -kind[1])
    )


def _problems(outcomes: Sequence[Outcome], ledger: Ledger, billed: int) -> list[str]:
    problems = []
    lost = [o for o in outcomes if not o.is_answered and (o.status not in REFUSALS or not o.code)]
    if lost:
        problems.append(f"{len(lost)} request(s) neither answered nor refused for money: {lost[0].message}")
    unnamed = [outcome for outcome in outcomes if outcome.is_answered and not outcome.candidate]
    if unnamed:
        problems.append(f"{len(unnamed)} answer(s) did not name their candidate")
    routed = [outcome for outcome in outcomes if (outcome.reason or "").startswith("routed")]
    if not routed:
        problems.append("not one request was routed: the encoder or the router declined every time")
    if ledger.requests != len(outcomes):
        problems.append(f"{len(outcomes)} requests were sent, {ledger.requests} are recorded")
    if ledger.held:
        problems.append(f"{_usd(ledger.held)} USD are still held after every request has ended")
    if not ledger.spent == ledger.charges == billed:
        problems.append(
            f"the ledger disagrees: {_usd(ledger.spent)} USD spent, {_usd(ledger.charges)} charged, "
            f"{_usd(billed)} billed by the pool"
        )
    return problems


def _usd(nanodollars: int) -> str:
    return f"{nanodollars / NANODOLLARS:.9f}"
