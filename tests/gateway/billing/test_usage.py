"""The counts of OpenAI-compatible replies, in the conventions that providers have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.billing.usage import LARGEST_COUNT, Usage, larger, usage_of

OPENAI = {
    "prompt_tokens": 2006,
    "completion_tokens": 300,
    "total_tokens": 2306,
    "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 192, "audio_tokens": 0},
}
OPENROUTER = {
    "prompt_tokens": 194,
    "completion_tokens": 2,
    "total_tokens": 196,
    "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 100},
    "completion_tokens_details": {"reasoning_tokens": 0},
    "cost": 0.95,
}
DEEPSEEK = {
    "prompt_tokens": 100,
    "completion_tokens": 7,
    "total_tokens": 107,
    "prompt_cache_hit_tokens": 64,
    "prompt_cache_miss_tokens": 36,
}
ANTHROPIC_BESIDE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 1_015,
    "cache_read_input_tokens": 900,
    "cache_creation_input_tokens": 100,
}
LITELLM = {**ANTHROPIC_BESIDE, "prompt_tokens": 1_010}
GEMINI = {"prompt_tokens": 20, "completion_tokens": 151, "total_tokens": 553}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (OPENAI, Usage(2006, 300, cached_tokens=1920, reasoning_tokens=192)),
        (OPENROUTER, Usage(194, 2, written_tokens=100)),
        (DEEPSEEK, Usage(100, 7, cached_tokens=64)),
        (LITELLM, Usage(1_010, 5, cached_tokens=900, written_tokens=100)),
    ],
)
def test_details_are_parts_and_not_added(usage: dict[str, Any], expected: Usage) -> None:
    assert usage_of({"usage": usage}) == expected


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        ("prompt_cache_hit_tokens", Usage(100, 7, cached_tokens=64)),
        ("cache_read_input_tokens", Usage(100, 7, cached_tokens=64)),
        ("cache_creation_input_tokens", Usage(100, 7, written_tokens=64)),
    ],
)
def test_one_member_beside_the_usual_three_is_enough_to_tell_of_the_cache(member: str, expected: Usage) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107, member: 64}
    assert usage_of({"usage": usage}) == expected


def test_the_usual_three_members_tell_of_no_cache() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
    assert usage_of({"usage": usage}) == Usage(100, 7)


def test_cache_that_stands_beside_the_prompt_is_input_too() -> None:
    assert usage_of({"usage": ANTHROPIC_BESIDE}) == Usage(1_010, 5, cached_tokens=900, written_tokens=100)


def test_thinking_that_only_the_total_shows_is_output() -> None:
    assert usage_of({"usage": GEMINI}) == Usage(20, 533, reasoning_tokens=382)


def test_output_is_no_less_than_its_reasoning() -> None:
    """As one proxy reported it: completion_tokens 0, reasoning_tokens 60, and a total that agrees or is left out."""
    details = {"completion_tokens_details": {"reasoning_tokens": 60}}
    usage = {"prompt_tokens": 21, "completion_tokens": 0, **details}
    assert usage_of({"usage": usage}) == Usage(21, 60, reasoning_tokens=60)
    assert usage_of({"usage": {**usage, "total_tokens": 81}}) == Usage(21, 60, reasoning_tokens=60)


@pytest.mark.parametrize("details", [None, [], "x", {}, {"cached_tokens": None}, {"cached_tokens": -1}, {"x": 1}])
def test_details_that_make_no_sense_are_none(details: Any) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": details}
    assert usage_of({"usage": usage}) == Usage(5, 3)


@pytest.mark.parametrize("member", ["prompt_tokens", "completion_tokens"])
@pytest.mark.parametrize("count", [None, -1, True, "five", "1e3", "", float("nan"), float("inf"), LARGEST_COUNT + 1])
def test_a_usage_whose_counts_make_no_sense_is_none(member: str, count: Any) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 3}
    assert usage_of({"usage": {**usage, member: count}}) is None
    assert usage_of({"usage": {name: found for name, found in usage.items() if name != member}}) is None


@pytest.mark.parametrize("count", [5.0, "5", "5.0", 4.2, "4.2"])
def test_a_count_that_is_written_otherwise_is_read(count: Any) -> None:
    assert usage_of({"usage": {"prompt_tokens": count, "completion_tokens": 3}}) == Usage(5, 3)
    assert usage_of({"usage": {"prompt_tokens": 3, "completion_tokens": count}}) == Usage(3, 5)


@pytest.mark.parametrize("count", [{}, {"completion_tokens": None}, {"completion_tokens": "many"}])
def test_output_that_is_missing_is_what_the_prompt_leaves_of_the_total(count: dict[str, Any]) -> None:
    usage = {"prompt_tokens": 100, "total_tokens": 1_100, **count}
    assert usage_of({"usage": usage}) == Usage(100, 1_000)
    cached = {"prompt_tokens_details": {"cached_tokens": 80}}
    assert usage_of({"usage": {**usage, **cached}}) == Usage(100, 1_000, cached_tokens=80)
    assert usage_of({"usage": {**usage, "cache_read_input_tokens": 900}}) == Usage(1_000, 100, cached_tokens=900)
    assert usage_of({"usage": {**usage, "total_tokens": 99}}) is None


def test_a_prompt_that_is_missing_is_what_the_output_leaves_of_the_total() -> None:
    assert usage_of({"usage": {"completion_tokens": 100, "total_tokens": 1_100}}) == Usage(1_000, 100)
    assert usage_of({"usage": {"total_tokens": 1_100}}) is None


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 10, "output_tokens": 5}, Usage(10, 5)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "input_tokens": 10, "output_tokens": 5}, Usage(10, 5)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "input_tokens": 0, "output_tokens": 0}, Usage(10, 5)),
        (
            {"input_tokens": 10, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 8}},
            Usage(10, 5, cached_tokens=8),
        ),
        (
            {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 8, "cache_creation_input_tokens": 2},
            Usage(20, 5, cached_tokens=8, written_tokens=2),
        ),
        (
            {"input_tokens": 10, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 4}},
            Usage(10, 5, reasoning_tokens=4),
        ),
    ],
)
def test_counts_under_their_newer_names_are_read(usage: dict[str, Any], expected: Usage) -> None:
    assert usage_of({"usage": usage}) == expected


@pytest.mark.parametrize("member", ["prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens"])
def test_a_third_member_without_a_total_may_tell_of_the_cache(member: str) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 7, member: 64}
    assert usage_of({"usage": usage}) == Usage(100, 7, cached_tokens=64)


def test_what_hit_the_cache_and_what_missed_it_make_the_prompt() -> None:
    usage = {"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36, "completion_tokens": 7}
    assert usage_of({"usage": usage}) == Usage(100, 7, cached_tokens=64)
    assert usage_of({"usage": {**usage, "prompt_tokens": 0}}) == Usage(100, 7, cached_tokens=64)


PLAIN = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


@pytest.mark.parametrize(
    "payload",
    [
        {"x_groq": {"usage": PLAIN}},
        {"x_groq": {"usage": PLAIN}, "usage": None},
        {"choices": [{"index": 0, "usage": PLAIN}]},
        {"choices": [{"index": 0, "usage": PLAIN}], "usage": {"prompt_tokens": 0, "completion_tokens": 0}},
        {"choices": [None, {"index": 0, "usage": None}, {"index": 1, "usage": PLAIN}], "usage": {}},
    ],
)
def test_usage_in_its_other_places_is_read(payload: dict[str, Any]) -> None:
    assert usage_of(payload) == Usage(5, 3)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Usage(100, 50, 80, 10, 20), Usage(0, 0), Usage(100, 50, 80, 10, 20)),
        (Usage(0, 0), Usage(100, 50, 80, 10, 20), Usage(100, 50, 80, 10, 20)),
        (Usage(100, 1), Usage(100, 50, 80), Usage(100, 50, 80)),
        (Usage(100, 50, 80), Usage(20, 60, 5, 0, 30), Usage(100, 60, 80, 0, 30)),
    ],
)
def test_of_two_usages_the_larger_counts_are_taken(one: Usage, other: Usage, expected: Usage) -> None:
    assert larger(one, other) == expected
    assert larger(one, None) == larger(None, one) == one


@pytest.mark.parametrize("count", [0, LARGEST_COUNT])
def test_counts_from_none_to_the_largest_are_taken(count: int) -> None:
    assert usage_of({"usage": {"prompt_tokens": count, "completion_tokens": count}}) == Usage(count, count)


@pytest.mark.parametrize("payload", [None, [], "usage", 5, {}, {"usage": None}, {"usage": []}, {"usage": 5}])
def test_a_payload_without_a_usage_has_none(payload: Any) -> None:
    assert usage_of(payload) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(OPENAI)), inner, max_size=5),
    max_leaves=8,
)


@given(JSON)
def test_any_payload_gives_counts_that_make_sense_or_none(payload: Any) -> None:
    usage = usage_of({"usage": payload})
    if usage is not None:
        assert 0 <= usage.input_tokens <= 2 * LARGEST_COUNT
        assert 0 <= usage.reasoning_tokens <= usage.output_tokens <= 2 * LARGEST_COUNT
        assert usage.cached_tokens >= 0
        assert usage.written_tokens >= 0
