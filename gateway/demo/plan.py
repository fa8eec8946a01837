"""The plan of the demo's requests, and the outcome of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.demo.services import DemoTenant
from gateway.providers.replay.tasks import Task

BUDGETS = (None, None, None, "0.02", None, "0.02", "0.0012", None, "0.0003", None, None, "0.000001")
"""X-Budget of the requests in turn, in USD: none, generous, tight, and one that nothing fits."""
QUALITY_WEIGHTS = (None, None, None, None, "1.0", None, "0.3")


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """A request to send; tasks and headers are combined in turn, so that every mix occurs."""

    task: Task
    tenant: DemoTenant
    budget: str | None
    quality_weight: str | None
    is_streamed: bool

    def headers(self) -> dict[str, str]:
        asked = {"X-Budget": self.budget, "X-Quality-Weight": self.quality_weight}
        return {name: value for name, value in asked.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a request. Answered: `candidate` and `is_right`. Refused: `code` and `message`. Failed: only
    `message`.
    """

    plan: DemoPlan
    status: int
    candidate: str | None = None
    reason: str | None = None
    is_right: bool = False
    code: str | None = None
    message: str | None = None

    @property
    def is_answered(self) -> bool:
        return self.status == 200


def plan_requests(tasks: Sequence[Task], tenants: Sequence[DemoTenant]) -> list[DemoPlan]:
    """Return one request per task."""
    return [
        DemoPlan(
            task=task,
            tenant=tenants[number % len(tenants)],
            budget=BUDGETS[(number + number // len(BUDGETS)) % len(BUDGETS)],
            quality_weight=QUALITY_WEIGHTS[number % len(QUALITY_WEIGHTS)],
            is_streamed=number // 2 % 2 == 1,
        )
        for number, task in enumerate(tasks)
    ]
