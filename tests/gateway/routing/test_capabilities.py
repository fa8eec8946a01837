"""What candidates can do: named, declared, known by family, and compared with what a request needs."""

from __future__ import annotations

import pytest

from gateway.billing.text_tokens import TOKENIZERS, shape_of
from gateway.routing.capabilities import (
    ASSUMED,
    CAPABILITIES,
    JSON_SCHEMA,
    LOGPROBS,
    NEEDS,
    PDF,
    STOP,
    Capabilities,
    lacking,
)
from gateway.routing.model_families import FAMILIES, known_capabilities
from gateway.routing.query import Query, QueryMedia
from tests.gateway.billing.cases import Case
from tests.gateway.billing.makers import candidate

OPENAI, ELSEWHERE = "https://api.openai.com/v1", "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(("name", "bit"), [(name, need.bit) for name, need in NEEDS.items()])
def test_a_need_that_a_candidate_lacks_leaves_it_out_with_a_reason_of_its_own(name: str, bit: int) -> None:
    able = candidate("able", capabilities=Capabilities())
    unable = candidate("unable", capabilities=Capabilities(frozenset({name})))
    decision = Case(Query("", 10, 1, needs=bit), (unable, able), None, 1, frozenset()).decide()
    assert [row.candidate.name for row in decision.choices] == ["able"]
    assert [(row.candidate.name, row.dropped) for row in decision.dropped] == [("unable", NEEDS[name].dropped)]


def test_several_replies_need_a_candidate_that_gives_them() -> None:
    one = candidate("one", capabilities=ASSUMED.declared({"n": False}))
    assert not Case(Query("", 10, 1, choices=2), (one,), None, 1, frozenset()).decide().choices
    assert Case(Query("", 10, 1), (one,), None, 1, frozenset()).decide().choices


def test_what_only_tunes_leaves_nobody_out() -> None:
    deaf = candidate("deaf", capabilities=Capabilities(frozenset(set(CAPABILITIES) - set(NEEDS))))
    assert deaf.lacks == 0
    assert {"temperature", "seed"} <= deaf.drops
    assert not deaf.capabilities.knows_developer


def test_a_candidate_is_not_sent_members_of_what_it_lacks() -> None:
    without = Capabilities(frozenset({"tools", "logprobs"}))
    assert {"tools", "tool_choice", "functions", "logprobs", "top_logprobs"} <= without.drops
    assert candidate("a", calls_tools=False).drops >= {"tools", "tool_choice"}
    assert "response_format" not in ASSUMED.declared({"json_schema": False}).drops
    assert "response_format" in ASSUMED.declared({"json_schema": False, "json_object": False}).drops


def test_of_several_unmet_needs_one_is_named() -> None:
    assert lacking(STOP | LOGPROBS | JSON_SCHEMA) == "follows_no_json_schema"


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown capability 'telepathy'; known: images, pdf"):
        Capabilities(frozenset({"telepathy"}))
    with pytest.raises(ValueError, match="unknown capability 'telepathy'"):
        ASSUMED.declared({"telepathy": True})


def test_every_row_names_capabilities_and_its_source() -> None:
    for family in FAMILIES:
        assert set(family.lacks.split()) | set(family.has.split()) <= set(CAPABILITIES)
        assert family.source


@pytest.mark.parametrize("model", ["good", "ollama3", "my-o1", "to4d", "gpt-oss-120b", "o1ympus", "gpt-2"])
def test_an_unknown_model_is_assumed_to_do_everything_but_files_and_sound(model: str) -> None:
    assert known_capabilities(model, ELSEWHERE) == ASSUMED


@pytest.mark.parametrize(
    "model", ["o1", "o3", "o3-2025-04-16", "o4-mini", "gpt-5", "gpt-5-mini", "openai/gpt-5.2", "O3"]
)
def test_models_that_reason_take_no_temperature_wherever_they_are_served(model: str) -> None:
    for url in (OPENAI, "https://openrouter.ai/api/v1", ELSEWHERE):
        found = known_capabilities(model, url)
        assert {"temperature", "top_p", "presence_penalty", "frequency_penalty"} <= found.drops
        assert found.lacks & LOGPROBS


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-mini", "gpt-5-chat-latest", "chatgpt-4o-latest"])
def test_models_that_do_not_reason_take_a_temperature_and_no_effort(model: str) -> None:
    found = known_capabilities(model, OPENAI)
    assert "temperature" not in found.drops
    assert {"reasoning_effort", "verbosity", "top_k"} <= found.drops
    assert not found.lacks & LOGPROBS


def test_pdf_is_known_at_openai_only() -> None:
    assert not known_capabilities("gpt-4o", OPENAI).lacks & PDF
    for model, url in (
        ("gpt-4o", ELSEWHERE),
        ("o3-mini", OPENAI),
        ("o1-mini", OPENAI),
        ("gpt-4o-audio-preview", OPENAI),
    ):
        assert known_capabilities(model, url).lacks & PDF


@pytest.mark.parametrize(
    ("model", "url", "lacks", "drops"),
    [
        ("claude-sonnet-4-5", "https://api.anthropic.com/v1", {"n", "logprobs", "json_schema"}, {"seed"}),
        ("llama-3.3-70b", "https://api.groq.com/openai/v1", {"n", "logprobs", "logit_bias"}, set()),
        ("gemini-2.5-pro", "https://generativelanguage.googleapis.com/v1beta/openai", {"logprobs"}, {"seed"}),
        ("mistral-large", "https://api.mistral.ai/v1", {"logprobs"}, {"seed"}),
        ("deepseek-chat", "https://api.deepseek.com", {"n", "json_schema", "images"}, set()),
        ("o1-mini", OPENAI, {"images", "tools"}, {"tools"}),
    ],
)
def test_what_an_address_refuses_is_known(model: str, url: str, lacks: set[str], drops: set[str]) -> None:
    found = known_capabilities(model, url)
    assert all(found.lacks & NEEDS[name].bit for name in lacks)
    assert drops <= found.drops


def test_developer_is_a_role_of_openai_and_not_of_open_models() -> None:
    assert known_capabilities("gpt-4o", OPENAI).knows_developer
    for model in ("qwen/qwen-2-vl-72b-instruct", "Llama-3.2-11B-Vision", "deepseek-chat"):
        assert not known_capabilities(model, ELSEWHERE).knows_developer


def test_pages_and_seconds_are_priced_by_each_candidates_own_figures() -> None:
    takes = candidate("a", capabilities=Capabilities(), page_tokens=4_000, audio_tokens_per_second=10)
    query = Query("", 0, 1, media=QueryMedia(seconds=10, most_seconds=60, pages=2, page_text_bytes=5_000))
    bare = Case(query._replace(media=None), (takes,), None, 1, frozenset()).decide().choices[0]
    row = Case(query, (takes,), None, 1, frozenset()).decide().choices[0]
    assert row.input_tokens - bare.input_tokens == 10 * 10 + 4_000
    assert row.input_ceiling - bare.input_ceiling == 10 * 60 + 8_000
    dense = query._replace(media=QueryMedia(pages=2, page_text_bytes=26_000))
    dense_row = Case(dense, (takes,), None, 1, frozenset()).decide().choices[0]
    assert dense_row.input_ceiling - bare.input_ceiling == 8_000 + 20_000


def test_tools_that_are_only_listed_are_priced_and_not_needed() -> None:
    pool = (candidate("a", calls_tools=False),)
    plain = Case(Query("", 10, 1), pool, None, 1, frozenset()).decide().choices[0]
    listed = Case(Query("", 10, 1, lists_tools=True), pool, None, 1, frozenset()).decide().choices[0]
    assert listed.input_ceiling == plain.input_ceiling + 1_024


@pytest.mark.parametrize(
    "words", ['{"a": [1, 2, {"b": "c"}],\n  "d": 0.25},\n', r"\frac{\partial^2 u}{\partial x^2} + "]
)
def test_the_limit_that_is_sent_leaves_room_for_input_that_takes_more_than_expected(words: str) -> None:
    text = words * 200
    query = Query("", len(text.encode()), 1, shape=shape_of([text]))
    for context in (4_000, 8_192, 16_000, 32_000):
        pool = (candidate("a", context_tokens=context, max_output_tokens=context),)
        for row in Case(query, pool, None, 1, frozenset()).decide().choices:
            likely_most = 4 + -(-(row.input_tokens - 4) * 13 // 10)
            assert likely_most + row.output_limit <= context or row.output_limit == row.needed_output_tokens


def test_a_candidate_is_left_out_only_when_the_expected_input_does_not_fit() -> None:
    query = Query("", 4_000, 1)
    row = Case(query, (candidate("a", context_tokens=1_100),), None, 1, frozenset()).decide().choices[0]
    assert row.output_limit == 1_100 - row.input_tokens == 96
    decision = Case(query, (candidate("a", context_tokens=1_004),), None, 1, frozenset()).decide()
    assert [dropped.dropped for dropped in decision.dropped] == ["context_too_short"]


def test_the_margin_is_never_above_the_ceiling_of_the_bytes() -> None:
    digits = "7" * 900  # a token each at Gemini, and one more at most
    query = Query("", 900, 1, shape=shape_of([digits]))
    pool = (candidate("a", context_tokens=10_000, max_output_tokens=10_000, tokenizer=TOKENIZERS["gemini"]),)
    row = Case(query, pool, None, 1, frozenset()).decide().choices[0]
    assert row.output_limit == 10_000 - 4 - 901
