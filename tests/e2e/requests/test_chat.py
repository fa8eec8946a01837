"""One request through the official client: what comes back, and what the provider was sent."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.e2e.harness.pictures import data_url, picture
from tests.e2e.harness.scripted_provider import Call, ScriptedProvider
from tests.e2e.harness.scripts import TEXT, USAGE, answer_json, completion, usage_of, whole
from tests.e2e.harness.site import Site, charge, usd

MESSAGES: list[Any] = [{"role": "user", "content": "How many?"}]


def test_whole_reply_names_the_candidate_and_what_it_cost(shared_site: Site) -> None:
    with shared_site.client() as client:
        raw = client.chat.completions.with_raw_response.create(model="auto", messages=MESSAGES)
    reply = raw.parse()
    assert reply.model == "large"
    assert reply.choices[0].message.content == TEXT
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == USAGE
    headers = raw.headers
    assert headers["x-request-id"].startswith("req_")
    assert headers["x-route-candidate"] == "large"
    assert headers["x-route-quality"] == "0.9000"
    assert headers["x-route-reason"] == "routed"
    assert headers["x-route-cost"] == usd(charge("large", *USAGE))
    assert float(headers["x-budget-remaining"]) < 100
    outcome = shared_site.ledger.outcome(headers["x-request-id"])
    assert outcome["cost_nanousd"] == charge("large", *USAGE)
    assert (outcome["input_tokens"], outcome["output_tokens"], outcome["metered"]) == (*USAGE, 0)


@pytest.mark.parametrize("include_usage", [True, False, None])
def test_stream_ends_with_its_exact_cost(
    shared_site: Site, provider: ScriptedProvider, include_usage: bool | None
) -> None:
    options: dict[str, Any] = {} if include_usage is None else {"stream_options": {"include_usage": include_usage}}
    with shared_site.client() as client:
        stream = client.chat.completions.create(model="auto", messages=MESSAGES, stream=True, **options)
        chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == TEXT
    assert {chunk.model for chunk in chunks} == {"large"}
    route: Any = chunks[-1].model_extra and chunks[-1].model_extra["x_route"]
    assert round(route["cost_usd"] * 1e9) == charge("large", *USAGE)
    assert route["candidate"] == "large"
    assert [chunk for chunk in chunks[:-1] if (chunk.model_extra or {}).get("x_route")] == []
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert len(usages) == (1 if include_usage else 0), "usage is shown to those who asked, and to nobody else"
    assert provider.calls[0].json["stream_options"]["include_usage"] is True, "the bill needs it"
    assert shared_site.ledger.outcome(route["request_id"])["cost_nanousd"] == charge("large", *USAGE)


def test_async_clients_at_once_each_get_their_own_answer(shared_site: Site, provider: ScriptedProvider) -> None:
    async def echo(call: Call) -> None:
        await call.send(whole(completion(call.json, call.json["messages"][0]["content"], USAGE)))

    for name in ("large", "middle", "small"):
        provider.on(name, echo)

    async def ask_all() -> list[str | None]:
        async with shared_site.async_client() as client:
            replies = await asyncio.gather(
                *(
                    client.chat.completions.create(
                        model="auto", messages=[{"role": "user", "content": f"question {number}"}]
                    )
                    for number in range(40)
                )
            )
        return [reply.choices[0].message.content for reply in replies]

    assert asyncio.run(ask_all()) == [f"question {number}" for number in range(40)]


def test_async_stream(shared_site: Site) -> None:
    async def read() -> str:
        async with shared_site.async_client() as client:
            stream = await client.chat.completions.create(model="auto", messages=MESSAGES, stream=True)
            return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    assert asyncio.run(read()) == TEXT


def test_candidate_asked_for_by_name_is_pinned(shared_site: Site) -> None:
    answered = shared_site.chat({"model": "small", "messages": MESSAGES})
    assert answered.json["model"] == answered.headers["x-route-candidate"] == "small"
    assert answered.headers["x-route-reason"] == "pinned"
    assert "x-route-quality" not in answered.headers


def test_headers_steer_the_choice(shared_site: Site) -> None:
    body = {"model": "auto", "messages": MESSAGES}
    assert shared_site.chat(body, X_Quality_Weight="0").json["model"] == "small"
    assert shared_site.chat(body, X_Quality_Weight="1").json["model"] == "large"
    assert shared_site.chat(body, X_Candidates="small, middle").json["model"] == "middle"
    unknown = shared_site.chat(body, X_Candidates="small,gpt-none")
    assert (unknown.status, unknown.error["param"]) == (400, "X-Candidates")


def test_images_are_sent_on_untouched_and_priced(shared_site: Site, provider: ScriptedProvider) -> None:
    small, large = data_url(picture(size=(64, 48))), data_url(picture("JPEG", (1024, 1024)), "image/jpeg")
    parts: list[Any] = [
        {"type": "text", "text": "Which is larger?"},
        {"type": "image_url", "image_url": {"url": small, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": large, "detail": "high"}},
    ]
    with shared_site.client() as client:
        client.chat.completions.create(model="auto", messages=[{"role": "user", "content": parts}])
    assert provider.calls[0].json["messages"] == [{"role": "user", "content": parts}]
    row = shared_site.route({"model": "auto", "messages": [{"role": "user", "content": parts}]})["candidates"][0]
    assert row["input_tokens"] >= 85 + 85 + 4 * 170, "OpenAI's tiles: 85 at low detail, 85 + 4 x 170 at high"


def test_turns_tools_and_schemas_pass_through(shared_site: Site, provider: ScriptedProvider) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "count", "arguments": '{"what": "dogs"}'}}
    reply = {
        **completion({"model": "large"}, "", USAGE, "tool_calls"),
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {"role": "assistant", "content": None, "tool_calls": [call]},
            }
        ],
    }
    provider.on("large", answer_json(reply))
    messages: list[Any] = [
        {"role": "system", "content": "You count."},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url(picture())}}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "3"},
        {"role": "user", "content": "And cats?"},
    ]
    tools: list[Any] = [{"type": "function", "function": {"name": "count", "parameters": {"type": "object"}}}]
    schema: Any = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {"type": "object"}}}
    more: dict[str, Any] = {
        "temperature": 0.25,
        "seed": 7,
        "n": 1,
        "stop": ["\n"],
        "user": "ünï",
        "logit_bias": {"5": 1},
    }
    with shared_site.client() as client:
        answered = client.chat.completions.create(
            model="auto",
            messages=messages,
            tools=tools,
            tool_choice="auto",
            response_format=schema,
            parallel_tool_calls=False,
            extra_body={"vendor_knob": {"deep": [1, 2.50, None, True]}, "top_k": 40},
            **more,
        )
    assert answered.choices[0].message.tool_calls
    assert answered.choices[0].message.tool_calls[0].to_dict() == call
    sent = provider.calls[0].json
    limit = sent.pop("max_tokens")
    assert isinstance(limit, int)
    assert sent == {
        "model": "large",
        "messages": messages,
        "tools": tools,
        "tool_choice": "auto",
        "response_format": schema,
        "parallel_tool_calls": False,
        "vendor_knob": {"deep": [1, 2.5, None, True]},
        "top_k": 40,
        **more,
    }


def test_several_choices_are_all_returned_and_all_paid(shared_site: Site, provider: ScriptedProvider) -> None:
    one = shared_site.route({"model": "auto", "messages": MESSAGES, "max_tokens": 50})["candidates"][0]
    two = shared_site.route({"model": "auto", "messages": MESSAGES, "max_tokens": 50, "n": 2})["candidates"][0]
    assert two["ceiling_usd"] - one["ceiling_usd"] == pytest.approx(50 * 15e-6)
    with shared_site.client() as client:
        reply = client.chat.completions.create(model="auto", messages=MESSAGES, n=2, max_tokens=50)
    assert [choice.message.content for choice in reply.choices] == [TEXT, TEXT]
    assert provider.calls[0].json["n"] == 2
    assert provider.calls[0].json["max_tokens"] == 50


def test_members_of_the_reply_that_are_not_known_here_reach_the_client(
    shared_site: Site, provider: ScriptedProvider
) -> None:
    reply = {**completion({"model": "other-name"}, TEXT, None), "vendor": {"x": [1]}, "system_fingerprint": "fp"}
    provider.on("large", answer_json({**reply, "usage": {**usage_of(USAGE), "details": {"cached": 3}}}))
    answered = shared_site.chat({"model": "auto", "messages": MESSAGES}).json
    assert answered["model"] == "large"
    assert answered["vendor"] == {"x": [1]}
    assert answered["usage"]["details"] == {"cached": 3}


def test_provider_never_sees_the_clients_key(shared_site: Site, provider: ScriptedProvider) -> None:
    shared_site.chat({"model": "auto", "messages": MESSAGES})
    headers = provider.calls[0].headers
    assert "sk-loupe" not in json.dumps(headers)
    assert headers["x-request-id"].startswith("req_")
    assert not [name for name in headers if name.startswith(("x-budget", "x-route"))]
