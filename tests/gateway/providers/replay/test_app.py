"""The pool over a real socket, asked by the official client."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any
from urllib.error import HTTPError

import openai
import pytest

from gateway.errors import ConfigError
from gateway.providers.replay import ReplayApp, final_answer
from tests.gateway.providers.replay.conftest import Pool
from tests.gateway.providers.replay.tables import QUESTION, ask


def test_right_cell_answers_the_recorded_answer_with_the_tables_tokens(pool: Pool) -> None:
    reply = pool.client.chat.completions.create(model="good", messages=ask(QUESTION, pool.bars))
    assert final_answer(reply.choices[0].message.content or "") == "7"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.model == "good"
    assert reply.usage is not None
    usage = reply.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (311, 40, 351)


def test_same_question_on_another_image_has_its_own_answer(pool: Pool) -> None:
    reply = pool.client.chat.completions.create(model="good", messages=ask(QUESTION, pool.other))
    assert final_answer(reply.choices[0].message.content or "") == "9"


def test_wrong_cell_answers_another_answer_always_the_same(pool: Pool) -> None:
    texts = {
        pool.client.chat.completions.create(model="bad", messages=ask(QUESTION, pool.bars)).choices[0].message.content
        for _ in range(3)
    }
    assert len(texts) == 1
    assert final_answer(texts.pop() or "") != "7"


def test_row_without_recorded_answer_still_tells_right_from_wrong(pool: Pool) -> None:
    answers = [
        pool.client.chat.completions.create(model=model, messages=ask("Are they touching?", pool.bars))
        for model in ("good", "bad")
    ]
    right, wrong = (final_answer(answer.choices[0].message.content or "") for answer in answers)
    assert right == "correct"
    assert wrong is not None and wrong.startswith("incorrect-")


def test_prompt_tokens_are_estimated_where_the_table_has_none(pool: Pool) -> None:
    reply = pool.client.chat.completions.create(model="bad", messages=ask(QUESTION, pool.bars))
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == -(-len(QUESTION) // 4) + 4


def test_question_of_the_last_turn_counts_with_the_image_of_an_earlier_one(pool: Pool) -> None:
    turns = [
        *ask("What is this?", pool.bars),
        {"role": "assistant", "content": "A chart."},
        *ask(QUESTION),
    ]
    reply = pool.client.chat.completions.create(model="good", messages=turns)
    assert final_answer(reply.choices[0].message.content or "") == "7"


def test_unknown_query_is_refused_or_answered_as_told(pool: Pool) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        pool.client.chat.completions.create(model="good", messages=ask("Who are you?"))
    assert refused.value.code == "unknown_query"
    with pytest.raises(openai.BadRequestError):
        pool.client.chat.completions.create(model="bad", messages=ask("Only good knows this?"))
    pool.app.unknown = "answer"
    reply = pool.client.chat.completions.create(model="good", messages=ask("Who are you?"))
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (3, 16)
    assert pool.counts("good") == {
        "requests": 2,
        "completed": 1,
        "cancelled": 0,
        "broken": 0,
        "failed": 1,
        "prompt_tokens": 3,
        "completion_tokens": 16,
    }


def test_unknown_model_is_404(pool: Pool) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        pool.client.chat.completions.create(model="best", messages=ask(QUESTION, pool.bars))
    assert refused.value.code == "model_not_found"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": "good"}', b'{"model": "good", "messages": 3}', b"\xff"])
def test_broken_body_is_400_in_openais_shape(pool: Pool, body: bytes) -> None:
    request = urllib.request.Request(f"{pool.url}/v1/chat/completions", data=body, method="POST")
    with pytest.raises(HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    with refused.value as answer:
        assert answer.code == 400
        assert json.load(answer)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(("name", "value"), [("n", 0), ("n", 129), ("max_tokens", 0)])
def test_senseless_numbers_are_refused_by_name(pool: Pool, name: str, value: int) -> None:
    extra: dict[str, Any] = {name: value}
    with pytest.raises(openai.BadRequestError) as refused:
        pool.client.chat.completions.create(model="good", messages=ask(QUESTION, pool.bars), **extra)
    assert refused.value.param == name


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_limit_cuts_the_reply_and_its_answer(pool: Pool, name: str) -> None:
    extra: dict[str, Any] = {name: 10}
    reply = pool.client.chat.completions.create(model="good", messages=ask(QUESTION, pool.bars), **extra)
    assert reply.choices[0].finish_reason == "length"
    assert len(reply.choices[0].message.content or "") == 40
    assert final_answer(reply.choices[0].message.content or "") is None
    assert reply.usage is not None and reply.usage.completion_tokens == 10


def test_several_choices_bill_their_tokens_each(pool: Pool) -> None:
    reply = pool.client.chat.completions.create(model="good", messages=ask(QUESTION, pool.bars), n=3)
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (311, 120)


def test_stream_has_role_pieces_finish_and_usage_where_asked(pool: Pool) -> None:
    chunks = list(
        pool.client.chat.completions.create(
            model="good",
            messages=ask(QUESTION, pool.bars),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len(chunks) == 1 + 10 + 1 + 1  # role, 40 tokens in fours, finish, usage
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert len(text) in range(157, 161) and final_answer(text) == "7"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 351
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_stream_without_the_option_has_no_usage(pool: Pool) -> None:
    chunks = list(pool.client.chat.completions.create(model="good", messages=ask(QUESTION, pool.bars), stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    assert pool.counts("good")["completion_tokens"] == 40


def test_streamed_choices_come_by_index_and_stop_at_the_limit(pool: Pool) -> None:
    chunks = list(
        pool.client.chat.completions.create(
            model="good", messages=ask(QUESTION, pool.bars), stream=True, n=2, max_tokens=6
        )
    )
    for index in (0, 1):
        own = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == index]
        assert len("".join(choice.delta.content or "" for choice in own)) == 24
        assert own[-1].finish_reason == "length"
    assert pool.counts("good")["completion_tokens"] == 12


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "answer"}}])
def test_forced_tool_is_called_whole_and_streamed(pool: Pool, choice: Any) -> None:
    tools: list[Any] = [{"type": "function", "function": {"name": "answer", "parameters": {"type": "object"}}}]
    create = pool.client.chat.completions.create
    reply = create(model="good", messages=ask(QUESTION, pool.bars), tools=tools, tool_choice=choice)
    assert reply.choices[0].finish_reason == "tool_calls"
    calls = reply.choices[0].message.tool_calls
    assert calls is not None and calls[0].type == "function"
    assert (calls[0].function.name, calls[0].function.arguments) == ("answer", '{"answer":"7"}')
    with pool.client.chat.completions.stream(
        model="good", messages=ask(QUESTION, pool.bars), tools=tools, tool_choice=choice
    ) as stream:
        streamed = stream.get_final_completion().choices[0].message.tool_calls
    assert streamed is not None
    assert (streamed[0].function.name, streamed[0].function.arguments) == ("answer", '{"answer":"7"}')


def test_tools_that_are_not_forced_leave_a_plain_answer(pool: Pool) -> None:
    tools: list[Any] = [{"type": "function", "function": {"name": "answer", "parameters": {"type": "object"}}}]
    reply = pool.client.chat.completions.create(
        model="good", messages=ask(QUESTION, pool.bars), tools=tools, tool_choice="auto"
    )
    assert reply.choices[0].message.tool_calls is None
    assert final_answer(reply.choices[0].message.content or "") == "7"


def test_json_is_answered_where_json_is_asked_for(pool: Pool) -> None:
    reply = pool.client.chat.completions.create(
        model="good", messages=ask(QUESTION, pool.bars), response_format={"type": "json_object"}
    )
    assert json.loads(reply.choices[0].message.content or "") == {"answer": "7"}


def test_models_and_root_say_that_nothing_is_behind(pool: Pool) -> None:
    models = pool.client.models.list().data
    assert [model.id for model in models] == ["good", "bad"]
    assert {model.owned_by for model in models} == {"loupe-replay (simulated)"}
    assert "No model is behind it" in pool.get("/")["about"]
    with pytest.raises(HTTPError) as refused:
        pool.get("/v1/other")
    refused.value.close()
    assert refused.value.code == 404


def test_log_shows_headers_but_never_the_key(pool: Pool) -> None:
    pool.client.chat.completions.create(
        model="good", messages=ask(QUESTION, pool.bars), max_tokens=99, extra_headers={"X-Trace": "abc"}
    )
    (entry,) = pool.get("/replay/counts?log=5")["log"]
    assert entry["headers"]["x-trace"] == "abc"
    assert "authorization" not in entry["headers"]
    assert (entry["model"], entry["status"], entry["limit"], entry["cancelled"]) == ("good", 200, 99, False)
    assert (entry["prompt_tokens"], entry["completion_tokens"]) == (311, 40)


@pytest.mark.slow
def test_counts_are_exact_under_200_concurrent_requests(pool: Pool) -> None:
    async def drive() -> None:
        async with pool.async_client() as client:

            async def one(number: int) -> int:
                model = "good" if number % 2 else "bad"
                if number % 4 < 2:
                    reply = await client.chat.completions.create(model=model, messages=ask(QUESTION, pool.bars))
                    assert reply.usage is not None
                    return reply.usage.completion_tokens
                stream = await client.chat.completions.create(
                    model=model,
                    messages=ask(QUESTION, pool.bars),
                    stream=True,
                    stream_options={"include_usage": True},
                )
                return sum([chunk.usage.completion_tokens async for chunk in stream if chunk.usage])

            tokens = await asyncio.gather(*(one(number) for number in range(200)))
        assert sum(tokens) == 100 * 40 + 100 * 33

    asyncio.run(drive())
    good, bad = pool.counts("good"), pool.counts("bad")
    assert (good["requests"], good["completed"], good["prompt_tokens"]) == (100, 100, 31_100)
    assert (bad["requests"], bad["completed"], bad["completion_tokens"]) == (100, 100, 3_300)


def test_senseless_chunk_size_is_refused(pool: Pool) -> None:
    with pytest.raises(ConfigError, match="chunk_tokens"):
        ReplayApp(pool.app.table, chunk_tokens=0)
