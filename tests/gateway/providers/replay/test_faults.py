"""Each fault, as a client meets it and as the pool counts it."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import MutableMapping
from typing import Any

import openai
import pytest

from gateway.errors import ConfigError
from gateway.providers.replay import Faults
from tests.gateway.providers.replay.conftest import Pool
from tests.gateway.providers.replay.tables import QUESTION, ask


def test_failing_pool_answers_its_status_and_bills_nothing(pool: Pool) -> None:
    pool.app.faults = Faults(fail_rate=1.0, fail_status=429)
    with pytest.raises(openai.RateLimitError) as failed:
        pool.client.chat.completions.create(model="good", messages=ask(QUESTION, pool.bars))
    assert failed.value.response.headers["retry-after"] == "1"
    pool.app.faults = Faults(fail_rate=1.0)
    with pytest.raises(openai.InternalServerError):
        pool.client.chat.completions.create(model="good", messages=ask(QUESTION, pool.bars), stream=True)
    counts = pool.counts("good")
    assert (counts["requests"], counts["failed"]) == (2, 2)
    assert counts["prompt_tokens"] == counts["completion_tokens"] == 0


def test_faults_are_limited_to_the_named_candidates(pool: Pool) -> None:
    pool.app.faults = Faults(fail_rate=1.0, only=frozenset({"bad"}))
    pool.client.chat.completions.create(model="good", messages=ask(QUESTION, pool.bars))
    with pytest.raises(openai.InternalServerError):
        pool.client.chat.completions.create(model="bad", messages=ask(QUESTION, pool.bars))


def test_share_of_failures_is_the_rate(pool: Pool) -> None:
    pool.app.faults = Faults(fail_rate=0.3)
    client = pool.client
    for _ in range(100):
        try:
            client.chat.completions.create(model="good", messages=ask(QUESTION, pool.bars))
        except openai.InternalServerError:
            continue
    assert 15 <= pool.counts("good")["failed"] <= 45


def test_broken_stream_drops_the_connection_midway_and_bills_what_was_sent(pool: Pool) -> None:
    pool.app.faults = Faults(break_rate=1.0)
    status, text, is_whole = _read(pool, stream=True)
    assert status == 200
    assert not is_whole
    assert "[DONE]" not in text and '"finish_reason":"stop"' not in text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    received = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    counts = pool.counts("good")
    assert len(received) == 4 * counts["completion_tokens"] == 80
    assert (counts["broken"], counts["prompt_tokens"]) == (1, 311)


def test_broken_body_is_shorter_than_announced_and_billed_in_full(pool: Pool) -> None:
    pool.app.faults = Faults(break_rate=1.0)
    status, text, is_whole = _read(pool, stream=False)
    assert (status, is_whole) == (200, False)
    assert text.startswith('{"id"')
    counts = pool.counts("good")
    assert (counts["broken"], counts["prompt_tokens"], counts["completion_tokens"]) == (1, 311, 40)


def test_usage_is_left_out_whole_and_streamed(pool: Pool) -> None:
    pool.app.faults = Faults(no_usage_rate=1.0)
    create = pool.client.chat.completions.create
    assert create(model="good", messages=ask(QUESTION, pool.bars)).usage is None
    options: openai.types.chat.ChatCompletionStreamOptionsParam = {"include_usage": True}
    chunks = list(create(model="good", messages=ask(QUESTION, pool.bars), stream=True, stream_options=options))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    assert pool.counts("good")["completion_tokens"] == 80


@pytest.mark.parametrize("stream", [False, True])
def test_delays_are_kept(pool: Pool, stream: bool) -> None:
    pool.app.faults = Faults(first_byte_s=0.05, latency_s=0.1)
    waited = []

    async def wait(gone: asyncio.Task[MutableMapping[str, Any]], seconds: float) -> None:
        waited.append(seconds)

    pool.app.wait = wait
    status, _, is_whole = _read(pool, stream=stream)
    assert (status, is_whole) == (200, True)
    assert (waited[0], sum(waited)) == (0.05, pytest.approx(0.15))


def test_cancelled_stream_is_billed_the_tokens_sent_by_then(pool: Pool) -> None:
    pool.app.faults = Faults(latency_s=2.0)
    waits = 0

    async def wait(gone: asyncio.Task[MutableMapping[str, Any]], seconds: float) -> None:
        nonlocal waits
        waits += 1
        if waits > 2:
            await asyncio.wait((gone,))

    pool.app.wait = wait
    received = []
    stream = pool.client.chat.completions.create(model="good", messages=ask(QUESTION, pool.bars), stream=True)
    for chunk in stream:
        received.append(chunk.choices[0].delta.content or "")
        if len(received) == 3:  # the role and two pieces of four tokens
            stream.close()
            break
    counts = pool.counts_once("good", lambda found: found["requests"] == 1)
    assert (counts["cancelled"], counts["completed"], counts["prompt_tokens"]) == (1, 0, 311)
    assert counts["completion_tokens"] == 8
    (entry,) = pool.get("/replay/counts?log=1")["log"]
    assert entry["cancelled"] is True


@pytest.mark.parametrize("stream", [False, True])
def test_hang_up_before_the_first_byte_is_billed_the_prompt_alone(pool: Pool, stream: bool) -> None:
    pool.app.faults = Faults(first_byte_s=600.0)
    waiting = threading.Event()

    async def wait(gone: asyncio.Task[MutableMapping[str, Any]], seconds: float) -> None:
        waiting.set()
        await asyncio.wait((gone,), timeout=seconds)

    pool.app.wait = wait
    connection = http.client.HTTPConnection(pool.url.removeprefix("http://"), timeout=60)
    body = json.dumps({"model": "good", "messages": ask(QUESTION, pool.bars), "stream": stream})
    connection.request("POST", "/v1/chat/completions", body)
    assert waiting.wait(60)
    connection.close()
    counts = pool.counts_once("good", lambda found: found["requests"] == 1)
    assert (counts["cancelled"], counts["prompt_tokens"], counts["completion_tokens"]) == (1, 311, 0)


def test_senseless_faults_are_refused() -> None:
    with pytest.raises(ConfigError, match="fail_rate"):
        Faults(fail_rate=1.5)
    with pytest.raises(ConfigError, match="break_rate"):
        Faults(break_rate=float("nan"))
    with pytest.raises(ConfigError, match="latency_s"):
        Faults(latency_s=-1.0)
    with pytest.raises(ConfigError, match="fail_status"):
        Faults(fail_status=200)


def _read(pool: Pool, *, stream: bool) -> tuple[int, str, bool]:
    """Status, text received and whether the reply came to its end."""
    host = pool.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    body = json.dumps({"model": "good", "messages": ask(QUESTION, pool.bars), "stream": stream})
    try:
        connection.request("POST", "/v1/chat/completions", body)
        answer = connection.getresponse()
        try:
            return answer.status, answer.read().decode(), True
        except http.client.IncompleteRead as error:
            return answer.status, error.partial.decode(), False
    finally:
        connection.close()
