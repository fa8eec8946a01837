"""The report's arithmetic, and what it holds to be a problem."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from gateway.demo.ledger import Ledger, pool_bill
from gateway.demo.plan import DemoPlan, Outcome
from gateway.demo.report import DemoReport, build_report
from gateway.demo.services import DemoTenant
from gateway.demo.show import as_json, as_text
from gateway.providers.replay.candidates import CANDIDATES
from gateway.providers.replay.drawn_table import SimulatedTable
from gateway.providers.replay.tasks import Task

TENANT = DemoTenant("alpha", "key", "1.00", 0.8)
CHEAP, DEAR = CANDIDATES[0], CANDIDATES[-1]
TASKS = tuple(Task(str(number), "charts", 1, "Which?", "7", b"", 512, 384, {}) for number in range(4))
TABLE = SimulatedTable(
    tasks=TASKS,
    candidates=(CHEAP, DEAR),
    right=np.array([[False, True], [True, True], [False, False], [True, True]]),
    input_tokens=np.full((4, 2), 1_000),
    output_tokens=np.full((4, 2), 100),
)
CHEAP_COST, DEAR_COST = 1_000 * 80 + 100 * 100, 1_000 * 3_000 + 100 * 15_000
LEDGER = Ledger(
    spent=CHEAP_COST + 2 * DEAR_COST,
    held=0,
    charges=CHEAP_COST + 2 * DEAR_COST,
    requests=4,
    spend={CHEAP.name: CHEAP_COST, DEAR.name: 2 * DEAR_COST},
    overhead_ms=(1.0, 2.0, 3.0),
    beside_encoding_ms=(0.5, 0.5, 0.6),
)


def plan(number: int) -> DemoPlan:
    return DemoPlan(TASKS[number], TENANT, None, None, is_streamed=False)


OUTCOMES = (
    Outcome(plan(0), 200, candidate=DEAR.name, reason="routed", is_right=True),
    Outcome(plan(1), 200, candidate=CHEAP.name, reason="routed", is_right=True),
    Outcome(plan(2), 200, candidate=DEAR.name, reason="declined:slow", is_right=False),
    Outcome(plan(3), 402, code="budget_infeasible", message="too small"),
)


def report(outcomes: tuple[Outcome, ...] = OUTCOMES, ledger: Ledger = LEDGER) -> DemoReport:
    return build_report(TABLE, outcomes, ledger, ledger.charges)


def test_shares_scores_and_spend_are_of_the_answered() -> None:
    found = report()
    assert (found.requests, found.routed.requests) == (4, 3)
    assert found.routed.score == pytest.approx(2 / 3)
    cheap, dear = found.served
    assert (cheap.requests, cheap.score, cheap.spend) == (1, 1.0, CHEAP_COST)
    assert (dear.requests, dear.score, dear.spend) == (2, 0.5, 2 * DEAR_COST)
    assert found.problems == ()


def test_singles_are_judged_on_the_same_answered_queries() -> None:
    found = report()
    assert (found.cheapest.candidate, found.best.candidate, found.dearest.candidate) == (
        CHEAP.name,
        DEAR.name,
        DEAR.name,
    )
    assert found.cheapest.score == pytest.approx(1 / 3)
    assert found.best.score == pytest.approx(2 / 3)
    assert found.best.spend == 3 * DEAR_COST
    assert found.uniform.score == pytest.approx(1 / 2)
    assert found.uniform.spend == 3 * (CHEAP_COST + DEAR_COST) // 2


def test_refusals_are_told_by_status_and_code_with_a_message() -> None:
    (refusal,) = report().refusals
    assert (refusal.status, refusal.code, refusal.count, refusal.example) == (402, "budget_infeasible", 1, "too small")


@pytest.mark.parametrize(
    ("ledger", "said"),
    [
        (replace(LEDGER, spent=1), "the ledger disagrees"),
        (replace(LEDGER, held=5), "still held"),
        (replace(LEDGER, requests=3), "3 are recorded"),
    ],
)
def test_inexact_ledger_is_a_problem(ledger: Ledger, said: str) -> None:
    found = report(ledger=ledger)
    assert len(found.problems) == 1
    assert said in found.problems[0]


def test_bill_of_the_pool_that_differs_is_a_problem() -> None:
    assert "disagrees" in build_report(TABLE, OUTCOMES, LEDGER, LEDGER.charges + 1).problems[0]


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome(plan(0), 502, code="provider_failed", message="down"), "down"),
        (Outcome(plan(0), 0, message="APIConnectionError"), "APIConnectionError"),
        (Outcome(plan(0), 402, message="no code"), "no code"),
        (Outcome(plan(0), 200, reason="routed", is_right=True), "did not name"),
    ],
)
def test_what_is_neither_answered_nor_refused_for_money_is_a_problem(outcome: Outcome, said: str) -> None:
    (problem,) = report((outcome, *OUTCOMES[1:])).problems
    assert said in problem


def test_declining_every_time_is_a_problem() -> None:
    declined = tuple(replace(outcome, reason="declined:slow") for outcome in OUTCOMES)
    assert "not one request was routed" in report(declined).problems[0]


def test_text_and_json_say_that_the_candidates_are_simulated() -> None:
    text = as_text(report(), seed=1)
    assert "SIMULATED" in text and "agree to the nanodollar" in text
    found = as_json(report(), 1, "loupe demo", {})
    assert json.loads(json.dumps(found)) == found
    assert {
        "requests",
        "ok",
        "refused",
        "spend_usd",
        "routed_score",
        "best_single",
        "cheapest_single",
        "dearest_single",
        "per_candidate",
        "overhead_ms_p50",
        "overhead_ms_p99",
    } <= set(found)
    assert (found["requests"], found["ok"], found["refused"]) == (4, 3, 1)
    assert found["spend_usd"] == pytest.approx((CHEAP_COST + 2 * DEAR_COST) / 1e9)
    assert found["singles"]["best"]["candidate"] == DEAR.name


def test_problems_are_shown() -> None:
    assert "NOT as it must be" in as_text(report(ledger=replace(LEDGER, held=5)), seed=1)


def test_nothing_answered_is_still_a_report() -> None:
    refused = tuple(Outcome(plan(number), 402, code="budget_infeasible", message="no") for number in range(4))
    empty = Ledger(0, 0, 0, 4, {}, (), ())
    found = report(refused, empty)
    assert found.routed.score == 0.0
    assert "4 refused" in as_text(found, seed=1)


def test_bill_of_the_pool_rounds_each_request_up() -> None:
    log = [{"model": CHEAP.name, "prompt_tokens": 1, "completion_tokens": 1}] * 3
    assert pool_bill(log, CANDIDATES) == 3 * 180
