"""The driver through the official client, against a pool whose one candidate is called `auto`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.demo.driver import drive
from gateway.demo.plan import BUDGETS, plan_requests
from gateway.demo.services import demo_tenants
from gateway.providers.replay import Faults, ReplayApp, read_table, serving
from gateway.providers.replay.candidates import CANDIDATES
from gateway.providers.replay.drawn_table import simulate, write_table
from gateway.providers.replay.tasks import Task, draw_tasks

TENANTS = demo_tenants()


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    return draw_tasks(24, seed=6)


def test_plan_mixes_budgets_streams_and_tenants(tasks: list[Task]) -> None:
    plans = plan_requests(tasks * 10, TENANTS)
    assert sum(plan.is_streamed for plan in plans) == len(plans) / 2
    assert {plan.budget for plan in plans} == set(BUDGETS)
    mixes = {(plan.tenant.name, plan.is_streamed, plan.budget) for plan in plans}
    assert len(mixes) == 3 * 2 * len(set(BUDGETS))
    assert len({plan.quality_weight for plan in plans}) == 3


def test_answers_are_scored_against_the_known_ones(tasks: list[Task], tmp_path: Path) -> None:
    table = simulate(tasks, (replace(CANDIDATES[-1], name="auto"),), seed=2)
    app = ReplayApp(read_table([write_table(table, tmp_path)]))
    with serving(app) as url:
        outcomes = drive(f"{url}/v1", plan_requests(tasks, TENANTS))
    assert [outcome.is_right for outcome in outcomes] == table.right[:, 0].tolist()
    assert [outcome.plan.task.id for outcome in outcomes] == [task.id for task in tasks]
    assert all(outcome.is_answered for outcome in outcomes)
    assert app.counts.tallies["auto"].completion_tokens == table.output_tokens.sum()
    budgets = [dict(served.headers).get(b"x-budget") for served in app.counts.log]
    assert len([budget for budget in budgets if budget]) == sum(
        p.budget is not None for p in plan_requests(tasks, TENANTS)
    )


def test_refusals_keep_status_code_and_message(tasks: list[Task], tmp_path: Path) -> None:
    table = simulate(tasks[:4], (replace(CANDIDATES[-1], name="auto"),), seed=2)
    app = ReplayApp(read_table([write_table(table, tmp_path)]), faults=Faults(fail_rate=1.0, fail_status=429))
    with serving(app) as url:
        outcomes = drive(f"{url}/v1", plan_requests(tasks[:4], TENANTS))
    assert {(o.status, o.code, o.message) for o in outcomes} == {(429, "injected_fault", "injected fault")}


def test_server_that_is_gone_is_an_outcome_too(tasks: list[Task]) -> None:
    (outcome,) = drive("http://127.0.0.1:9/v1", plan_requests(tasks[:1], TENANTS))
    assert (outcome.status, outcome.is_answered) == (0, False)
    assert "APIConnectionError" in (outcome.message or "")
