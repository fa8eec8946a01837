"""Sends the demo's requests through the official `openai` client and notes what came of each."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import openai

from gateway.demo.services import DemoTenant
from gateway.demo.tasks import Task
from gateway.replay.reply import final_answer

CONCURRENCY = 4
MAX_TOKENS = 1_024
BUDGETS = (None, None, None, "0.02", None, "0.02", "0.0012", None, "0.0003", None, None, "0.000001")
"""X-Budget of the requests in turn, in USD: none, generous, tight, and one that nothing fits."""
QUALITY_WEIGHTS = (None, None, None, None, "1.0", None, "0.3")


@dataclass(frozen=True, slots=True)
class Plan:
    """One request to send: tasks and headers in turn, so that every mix comes up."""

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
    """What came back. Answered: `candidate` and `is_right`. Refused: `code` and `message`. Failed: `message` alone."""

    plan: Plan
    status: int
    candidate: str | None = None
    reason: str | None = None
    is_right: bool = False
    code: str | None = None
    message: str | None = None

    @property
    def is_answered(self) -> bool:
        return self.status == 200


def plan_requests(tasks: Sequence[Task], tenants: Sequence[DemoTenant]) -> list[Plan]:
    """One request a task."""
    return [
        Plan(
            task=task,
            tenant=tenants[number % len(tenants)],
            budget=BUDGETS[(number + number // len(BUDGETS)) % len(BUDGETS)],
            quality_weight=QUALITY_WEIGHTS[number % len(QUALITY_WEIGHTS)],
            is_streamed=number // 2 % 2 == 1,
        )
        for number, task in enumerate(tasks)
    ]


def drive(base_url: str, plans: Sequence[Plan]) -> list[Outcome]:
    """Send them all, a few at a time; outcomes in the order of the plans. Nothing is retried."""
    with ExitStack() as stack:
        clients = {
            tenant.name: stack.enter_context(
                openai.OpenAI(base_url=base_url, api_key=tenant.key, max_retries=0, timeout=60.0)
            )
            for tenant in {plan.tenant.name: plan.tenant for plan in plans}.values()
        }
        pool = stack.enter_context(ThreadPoolExecutor(CONCURRENCY))
        try:
            return list(pool.map(lambda plan: _send(clients, plan), plans))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _send(clients: Mapping[str, openai.OpenAI], plan: Plan) -> Outcome:
    create = clients[plan.tenant.name].chat.completions.with_raw_response.create
    messages: list[Any] = [{"role": "user", "content": _content(plan.task)}]
    headers = plan.headers()
    try:
        if plan.is_streamed:
            streamed = create(
                model="auto", messages=messages, max_tokens=MAX_TOKENS, extra_headers=headers, stream=True
            )
            with streamed.parse() as chunks:
                text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
            return _answered(plan, streamed.headers, text)
        whole = create(model="auto", messages=messages, max_tokens=MAX_TOKENS, extra_headers=headers)
        return _answered(plan, whole.headers, whole.parse().choices[0].message.content or "")
    except openai.APIStatusError as error:
        return Outcome(plan, error.status_code, code=error.code, message=_message(error))
    except openai.OpenAIError as error:
        return Outcome(plan, 0, message=f"{type(error).__name__}: {error}")


def _content(task: Task) -> list[dict[str, object]]:
    url = "data:image/png;base64," + base64.b64encode(task.image).decode()
    return [{"type": "text", "text": task.question}, {"type": "image_url", "image_url": {"url": url}}]


def _answered(plan: Plan, headers: Mapping[str, str], text: str) -> Outcome:
    return Outcome(
        plan,
        200,
        candidate=headers.get("x-route-candidate"),
        reason=headers.get("x-route-reason"),
        is_right=final_answer(text) == plan.task.answer,
    )


def _message(error: openai.APIStatusError) -> str:
    """The gateway's own words, without what the client puts around them."""
    body = error.body
    return str(body["message"]) if isinstance(body, dict) and "message" in body else str(error)
