"""The pool of unlike providers itself, and a short run of the gateway before it."""

from __future__ import annotations

import pytest

from benchmarks.providers.__main__ import run
from benchmarks.providers.asked import Asked
from benchmarks.providers.families import FAMILIES
from benchmarks.providers.prose import ANSWERS, QUESTIONS, pieces_of, tokens_of
from benchmarks.providers.refusals import FLAGGED
from benchmarks.providers.report import report
from benchmarks.providers.requests import mixed

HELLO = {"model": "auto", "messages": [{"role": "user", "content": "Hello."}]}


def servers(**members: object) -> set[str]:
    asked = Asked({**HELLO, **members})
    return {family.name for family in FAMILIES if family.can_serve(asked)}


def test_twelve_providers_with_addresses_of_their_own() -> None:
    assert len({(family.key, family.model) for family in FAMILIES}) == len(FAMILIES) == 12


def test_a_plain_question_is_served_by_all() -> None:
    assert servers() == {family.name for family in FAMILIES}


@pytest.mark.parametrize(
    ("members", "refusing"),
    [
        ({"temperature": 0.2}, {"openai-reasoning"}),
        ({"max_tokens": 16}, {"openai-reasoning"}),
        ({"n": 2}, {"anthropic", "openrouter", "groq", "ollama", "fastapi"}),
        ({"seed": 7}, {"gemini", "mistral", "fastapi"}),
        ({"max_tokens": 6_000}, {"openai-reasoning", "groq", "vllm", "ollama", "fastapi"}),
        ({"messages": [{"role": "user", "content": FLAGGED}]}, {"azure"}),
    ],
)
def test_each_request_is_refused_by_its_own_providers(members: dict[str, object], refusing: set[str]) -> None:
    assert {family.name for family in FAMILIES} - servers(**members) == refusing


def test_the_same_seed_draws_the_same_requests() -> None:
    assert [each.encoded for each in mixed(20, 7)] == [each.encoded for each in mixed(20, 7)]


def test_sentences_are_streamed_in_as_many_pieces_as_they_have_tokens() -> None:
    for sentence, tokens in (*QUESTIONS, *ANSWERS):
        assert tokens_of(sentence) == len(pieces_of(sentence, tokens)) == tokens
        assert "".join(pieces_of(sentence, tokens)) == sentence


@pytest.mark.slow
def test_a_short_run_serves_nearly_all_and_charges_what_the_pool_bills() -> None:
    found = report(run(mixed(160, 7), 16, 7, 120.0))
    assert found["requests"] == 160
    assert found["refused although one could serve"] <= 2, "transient faults may have left nobody"
    assert found["charged with usage, nanodollars"] == found["billed with usage, nanodollars"] > 0
    assert found["requests charged otherwise than billed"] == 0
    assert (found["requests over their cap"], found["held at the end, nanodollars"]) == (0, 0)
    assert abs(found["charged over billed without usage"]) <= 0.5, "a handful of short replies; 0.6% of the long run"
    assert found["served"] > 100 and found["window equals the decision log"]
