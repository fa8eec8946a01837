"""The driver of the demo: sends its requests through the official `openai` client; the only file here that needs it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import openai

from gateway.demo.plan import DemoPlan, Outcome
from gateway.providers.replay.reply import final_answer
from gateway.providers.replay.tasks import Task

CONCURRENCY = 4
MAX_TOKENS = 1_024


def drive(base_url: str, plans: Sequence[DemoPlan]) -> list[Outcome]:
    """Send all requests, a few at a time. Returns outcomes in the order of the plans. Nothing is retried."""
    with ExitStack() as stack:
        clients = {
            tenant.name: stack.enter_context(
                openai.OpenAI(
                    base_url=base_url,
                    api_key=tenant.key,
                    max_retries=0,
                    timeout=60.0,
                    http_client=openai.DefaultHttpxClient(trust_env=False),  # no proxy for 127.0.0.1
                )
            )
            for tenant in {plan.tenant.name: plan.tenant for plan in plans}.values()
        }
        pool = stack.enter_context(ThreadPoolExecutor(CONCURRENCY))
        try:
            return list(pool.map(lambda plan: _send(clients, plan), plans))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _send(clients: Mapping[str, openai.OpenAI], plan: DemoPlan) -> Outcome:
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


def _answered(plan: DemoPlan, headers: Mapping[str, str], text: str) -> Outcome:
    return Outcome(
        plan,
        200,
        candidate=headers.get("x-route-candidate"),
        reason=headers.get("x-route-reason"),
        is_right=final_answer(text) == plan.task.answer,
    )


def _message(error: openai.APIStatusError) -> str:
    """Return the gateway's own message, without the text that the client adds."""
    body = error.body
    return str(body["message"]) if isinstance(body, dict) and "message" in body else str(error)
