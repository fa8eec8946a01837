"""The decision: laws that hold for any candidates, forecasts and caps, against a brute-force reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.billing.price import Price, affordable_output_tokens, cost
from gateway.billing.text_tokens import TOKENIZERS, shape_of
from gateway.routing.catalog import Candidate, Catalog
from gateway.routing.decision import (
    BLIND,
    CONTEXT,
    NO_TOOLS,
    OVER_CAP,
    UNHEALTHY,
    CandidateForecast,
    fit_to_hold,
    price_weight_of,
)
from gateway.routing.query import Query
from tests.gateway.billing.cases import CAPS, IMAGE, Case, cases
from tests.gateway.billing.makers import candidate


def test_a_plain_decision_takes_the_better_score() -> None:
    """By hand: 40 text tokens and 4 for the message; 100 output tokens; the reference is 3,000,000 nanodollars."""
    cheap, dear = candidate("cheap", Price(100, 400)), candidate("dear")
    forecasts = {name: CandidateForecast(q, 0.1, 100, 200) for name, q in (("cheap", 0.6), ("dear", 0.8))}
    case = Case(Query("", 160, 1), (cheap, dear), forecasts, 3_000_000, frozenset())
    by_quality = case.decide(price_weight=0.25)
    assert [row.candidate.name for row in by_quality.choices] == ["dear", "cheap"]
    best = by_quality.choices[0]
    assert best.input_tokens == 44
    assert best.expected_cost == 44 * 1_000 + 100 * 4_000
    assert best.input_ceiling == 161 + 16 + 64
    assert best.min_budget == 241 * 1_000 + 200 * 4_000
    assert best.max_cost == 241 * 1_000 + 4_096 * 4_000
    assert best.score == pytest.approx(0.8 - 0.25 * 444_000 / 3_000_000)
    by_price = case.decide(price_weight=4.0)
    assert [row.candidate.name for row in by_price.choices] == ["cheap", "dear"]


@given(cases(), CAPS, st.sampled_from(["refuse", "cheapest"]))
def test_no_choice_can_cost_more_than_the_cap(case: Case, cap: int | None, policy: str) -> None:
    decision = case.decide(cap=cap, on_infeasible=policy)
    for row in decision.choices:
        most = cost(row.candidate.price, row.input_ceiling, row.output_limit * case.query.choices)
        assert row.max_cost == most
        assert cap is None or most <= cap
        assert row.dropped is None


@given(cases(), CAPS)
def test_exactly_the_feasible_are_chosen(case: Case, cap: int | None) -> None:
    decision = case.decide(cap=cap)
    assert {row.candidate.name for row in decision.choices} == {c.name for c in case.candidates if fits(case, c, cap)}


@given(cases(), CAPS, st.sampled_from(["refuse", "cheapest"]))
def test_every_candidate_stands_once_chosen_or_dropped(case: Case, cap: int | None, policy: str) -> None:
    decision = case.decide(cap=cap, on_infeasible=policy)
    rows = [*decision.choices, *decision.dropped]
    assert sorted(row.candidate.name for row in rows) == sorted(c.name for c in case.candidates)
    assert all(row.dropped for row in decision.dropped)


@given(cases(), CAPS)
def test_amounts_are_in_order(case: Case, cap: int | None) -> None:
    for row in case.decide(cap=cap).choices:
        assert 0 <= row.min_budget <= row.max_cost
        assert 0 <= row.expected_cost <= row.max_cost
        assert 1 <= row.output_limit <= (case.query.max_output_tokens or row.output_limit)
        assert row.input_tokens + row.output_limit <= row.candidate.context_tokens


@given(cases(), CAPS)
def test_without_a_price_on_cost_the_best_forecast_is_first(case: Case, cap: int | None) -> None:
    assume(case.forecasts is not None)
    qualities = [row.forecast.quality for row in case.decide(price_weight=0.0, cap=cap).choices if row.forecast]
    assert qualities == sorted(qualities, reverse=True)


@given(cases(), CAPS)
def test_when_only_price_counts_the_cheapest_is_first(case: Case, cap: int | None) -> None:
    assume(case.forecasts is not None)
    costs = [row.expected_cost for row in case.decide(price_weight=price_weight_of(0.0), cap=cap).choices]
    assert costs == sorted(costs)


def test_when_only_price_counts_a_nanodollar_does() -> None:
    cheap, dear = candidate("cheap", Price(1_000_000, 0)), candidate("dear", Price(1_000_001, 0))
    forecasts = {"cheap": CandidateForecast(0.0, 0.1, 9, 9), "dear": CandidateForecast(1.0, 0.1, 9, 9)}
    case = Case(Query("", 10, 1), (dear, cheap), forecasts, 10**9, frozenset())
    rows = case.decide(price_weight=price_weight_of(0.0)).choices
    assert rows[1].expected_cost - rows[0].expected_cost == 1
    assert rows[0].candidate is cheap


@given(cases(), CAPS, st.floats(0, 100))
def test_first_choice_has_the_best_score(case: Case, cap: int | None, price_weight: float) -> None:
    assume(case.forecasts is not None)
    reference = case.reference_cost
    choices = case.decide(price_weight=price_weight, cap=cap).choices
    for row in choices:
        assert row.forecast is not None
        share = row.expected_cost / reference if reference else 0.0
        assert row.score == pytest.approx(row.forecast.quality - price_weight * share)
    assert [row.score for row in choices] == sorted((row.score for row in choices), reverse=True)


@given(cases(), CAPS, st.integers(0, 5))
def test_taking_away_a_candidate_that_is_not_first_changes_nothing(case: Case, cap: int | None, which: int) -> None:
    decision = case.decide(cap=cap)
    assume(decision.choices)
    best = decision.choices[0]
    gone = case.candidates[which % len(case.candidates)]
    assume(gone.name != best.candidate.name)
    fewer = replace(case, candidates=tuple(c for c in case.candidates if c is not gone))
    assert fewer.decide(cap=cap).choices == tuple(row for row in decision.choices if row.candidate is not gone)


@given(cases(), CAPS, st.randoms(use_true_random=False))
def test_order_of_the_candidates_decides_only_ties(case: Case, cap: int | None, random: Any) -> None:
    assume(case.forecasts is not None)
    shuffled = list(case.candidates)
    random.shuffle(shuffled)
    one, other = case.decide(cap=cap), replace(case, candidates=tuple(shuffled)).decide(cap=cap)
    assert [(r.score, r.expected_cost) for r in one.choices] == [(r.score, r.expected_cost) for r in other.choices]


@given(cases(), st.integers(0, 100))
def test_no_cap_drops_a_free_candidate(case: Case, cap: int) -> None:
    dropped = {row.candidate.name for row in case.decide(cap=cap).dropped if row.dropped == OVER_CAP}
    assert not dropped & {c.name for c in case.candidates if c.price.is_free}


@given(cases(), CAPS)
def test_cheapest_feasible_price_is_exactly_enough(case: Case, cap: int | None) -> None:
    cheapest = case.decide(cap=cap).cheapest_feasible
    assume(cheapest is not None)
    assert cheapest is not None
    enough = case.decide(cap=cheapest.min_budget)
    assert cheapest.candidate.name in {row.candidate.name for row in enough.choices}
    if cheapest.min_budget > 0:
        short = case.decide(cap=cheapest.min_budget - 1)
        assert cheapest.candidate.name not in {row.candidate.name for row in short.choices}
        assert not short.choices


@given(cases(), CAPS)
def test_cheapest_feasible_price_does_not_hang_on_the_cap(case: Case, cap: int | None) -> None:
    with_cap, without = case.decide(cap=cap).cheapest_feasible, case.decide().cheapest_feasible
    assert (with_cap.min_budget if with_cap else None) == (without.min_budget if without else None)


@given(cases(), st.integers(0, 5_000_000))
def test_policy_of_the_cheapest_serves_what_the_cap_allows_at_all(case: Case, cap: int) -> None:
    refused, served = case.decide(cap=cap), case.decide(cap=cap, on_infeasible="cheapest")
    if refused.choices:
        assert served == refused
        return
    able = [row for row in refused.dropped if row.dropped == OVER_CAP and row.output_limit >= 1]
    assert len(served.choices) == bool(able)
    for row in served.choices:
        assert row.min_budget == min(other.min_budget for other in able)
        assert row.output_limit >= 1
        assert row.expected_cost <= row.max_cost <= cap


@given(cases(), CAPS)
def test_higher_cap_never_takes_a_choice_away(case: Case, cap: int | None) -> None:
    assume(cap is not None)
    assert cap is not None
    less, more = (
        {row.candidate.name: row.output_limit for row in case.decide(cap=amount).choices} for amount in (cap, cap * 2)
    )
    assert all(more[name] >= limit for name, limit in less.items())


@given(cases(), CAPS)
def test_declined_routing_keeps_the_tenants_order(case: Case, cap: int | None) -> None:
    declined = replace(case, forecasts=None)
    names = [row.candidate.name for row in declined.decide(cap=cap).choices]
    assert names == [c.name for c in case.candidates if c.name in names]


@given(cases(), CAPS, st.floats(0, 1))
def test_any_hold_between_floor_and_ceiling_is_kept_to(case: Case, cap: int | None, share: float) -> None:
    for row in case.decide(cap=cap).choices:
        granted = row.min_budget + int((row.max_cost - row.min_budget) * share)
        limit = fit_to_hold(row, case.query, granted)
        assert 1 <= limit <= row.output_limit
        assert cost(row.candidate.price, row.input_ceiling, limit * case.query.choices) <= granted
        more = cost(row.candidate.price, row.input_ceiling, (limit + 1) * case.query.choices)
        assert limit == row.output_limit or more > granted


@pytest.mark.parametrize(
    ("query", "changes", "reason"),
    [
        (Query("", 10, 1, images=(IMAGE,)), {"sees_images": False}, BLIND),
        (Query("", 10, 1, uses_tools=True), {"calls_tools": False}, NO_TOOLS),
        (Query("", 4_000, 1), {"context_tokens": 1_004}, CONTEXT),
        (Query("", 10, 1, images=(IMAGE,) * 10), {"context_tokens": 1_000}, CONTEXT),
    ],
)
def test_what_a_candidate_can_not_do_drops_it(query: Query, changes: dict[str, Any], reason: str) -> None:
    able, unable = candidate("able"), candidate("unable", **changes)
    decision = Case(query, (unable, able), None, 1, frozenset()).decide()
    assert [row.candidate.name for row in decision.choices] == ["able"]
    assert [(row.candidate.name, row.dropped) for row in decision.dropped] == [("unable", reason)]


def test_the_last_token_of_the_context_may_be_used() -> None:
    row = Case(Query("", 4_000, 1), (candidate("a", context_tokens=1_005),), None, 1, frozenset()).decide().choices[0]
    assert row.output_limit == 1


def test_a_candidate_that_rests_is_dropped() -> None:
    decision = Case(Query("", 1, 1), (candidate("a"),), None, 1, frozenset("a")).decide()
    assert [row.dropped for row in decision.dropped] == [UNHEALTHY]
    assert decision.cheapest_feasible is None


def test_several_replies_cost_their_number() -> None:
    one = Case(Query("", 10, 1, max_output_tokens=100), (candidate("a"),), None, 1, frozenset()).decide().choices[0]
    query = Query("", 10, 1, max_output_tokens=100, choices=3)
    three = Case(query, (candidate("a"),), None, 1, frozenset()).decide().choices[0]
    output = cost(Price(0, one.candidate.price.output_per_million), 0, 100)
    assert three.max_cost - one.max_cost == 2 * output
    assert three.output_limit == one.output_limit == 100


def test_a_candidate_is_forecast_by_the_column_that_stands_for_it() -> None:
    forecasts = {"column": CandidateForecast(0.9, 0.0, 10, 20), "a": CandidateForecast(0.1, 0.0, 10, 20)}
    case = Case(Query("", 1, 1), (candidate("a", forecast_as="column"),), forecasts, 1, frozenset())
    assert case.decide().choices[0].forecast == forecasts["column"]


def test_a_forecast_below_nothing_costs_no_less_than_nothing() -> None:
    forecasts = {"a": CandidateForecast(0.5, 0.0, -1e6, -1e5)}
    row = Case(Query("", 10, 1), (candidate("a"),), forecasts, 10**6, frozenset()).decide().choices[0]
    assert 0 <= row.expected_cost <= row.min_budget


@given(st.floats(0, 1))
def test_preference_of_quality_lowers_the_price_on_cost(weight: float) -> None:
    assert price_weight_of(1.0) == 0.0 <= price_weight_of(weight) <= price_weight_of(0.0)
    assert price_weight_of(0.5) == 1.0


def test_reference_is_the_dearest_candidates_typical_request() -> None:
    assert Catalog((candidate("a", Price(1_000_000, 0)), candidate("b", Price(0, 1_000_000)))).reference_cost == 1_000
    assert Catalog(()).reference_cost == 0


def fits(case: Case, one: Candidate, cap: int | None) -> bool:
    """Feasible, found the slow way: try every output limit that could be set."""
    query, price = case.query, one.price
    images = 100 * len(query.images)
    room = one.context_tokens - (-(-query.prompt_bytes // 4) + 4 * query.messages + images)
    if (query.images and not one.sees_images) or (query.uses_tools and not one.calls_tools):
        return False
    if room < 1 or one.name in case.unhealthy:
        return False
    most = min(one.max_output_tokens, room, query.max_output_tokens or room)
    forecast = (case.forecasts or {}).get(one.forecast_as)
    high = forecast.output_tokens_high if forecast else 512
    needed = max(1, min(most, round(high)))
    inputs = query.prompt_bytes + (query.prompt_bytes > 0) + 16 * query.messages + 64 + images
    inputs += 1_024 * query.uses_tools
    if cap is None:
        return True
    affordable = affordable_output_tokens(price, inputs, cap)
    return affordable is None or affordable >= needed * query.choices


def test_a_factor_ranks_and_never_lowers_a_ceiling() -> None:
    """Billed a third of what was estimated, the dear one becomes the cheap one; its ceiling stays."""
    cheap, dear = candidate("cheap", Price(10**9, 0)), candidate("dear", Price(2 * 10**9, 0))
    forecasts = {name: CandidateForecast(0.5, 0.1, 100, 200) for name in ("cheap", "dear")}
    case = Case(Query("", 4_000, 1), (cheap, dear), forecasts, 10**6, frozenset())
    plain = {row.candidate.name: row for row in case.decide(price_weight=1.0).choices}
    first, second = case.decide(price_weight=1.0, factors={"dear": 1 / 3}).choices
    assert (first.candidate.name, second.candidate.name) == ("dear", "cheap")
    assert first.estimated_cost == plain["dear"].expected_cost
    assert first.expected_cost == -(-first.estimated_cost // 3)
    assert (first.max_cost, first.min_budget) == (plain["dear"].max_cost, plain["dear"].min_budget)
    assert second == plain["cheap"]


@given(cases(), CAPS, st.floats(0.25, 4))
def test_with_any_factor_no_cost_is_expected_over_the_ceiling(case: Case, cap: int | None, factor: float) -> None:
    factors = dict.fromkeys((c.name for c in case.candidates), factor)
    plain = {row.candidate.name: row for row in case.decide(cap=cap).choices}
    for row in case.decide(cap=cap, factors=factors).choices:
        assert row.expected_cost <= row.max_cost
        assert row.max_cost == plain.pop(row.candidate.name).max_cost
    assert not plain


def test_thinking_is_expected_and_needed_beside_the_reply() -> None:
    thinks = candidate("a", reasoning_tokens=(300, 700), max_output_tokens=10_000)
    row = (
        Case(Query("", 10, 1), (thinks,), {"a": CandidateForecast(1, 0, 100, 200)}, 1, frozenset()).decide().choices[0]
    )
    assert (row.output_tokens, row.needed_output_tokens) == (400, 900)
    assert row.estimated_cost == cost(thinks.price, row.input_tokens, 400)


def test_input_that_may_be_written_to_the_cache_is_held_at_that_price() -> None:
    price = Price(1_000_000_000, 0, cache_write_per_million=1_250_000_000)
    plain, writes = (
        Case(Query("", 1_000, 1, writes_cache=flag), (candidate("a", price),), None, 1, frozenset()).decide().choices[0]
        for flag in (False, True)
    )
    assert 4 * writes.max_cost == 5 * plain.max_cost
    assert writes.estimated_cost == plain.estimated_cost


def test_text_is_counted_by_each_candidates_own_tokenizer() -> None:
    """The same Chinese text; and Claude is told of tools in words of its own, which are billed."""
    text = "请看这张图表,说明第三季度的收入比第二季度增加了多少。" * 10
    query = Query("", len(text.encode()), 1, shape=shape_of([text]))
    pool = tuple(candidate(name, tokenizer=TOKENIZERS[name]) for name in ("openai_cl100k", "qwen", "anthropic"))
    gpt, qwen, claude = Case(query, pool, None, 1, frozenset()).decide().choices
    assert qwen.input_tokens < gpt.input_tokens < claude.input_tokens
    assert qwen.input_ceiling == gpt.input_ceiling < claude.input_ceiling
    with_tools = Case(query._replace(uses_tools=True), pool, None, 1, frozenset()).decide().choices
    assert [row.input_tokens for row in with_tools] == [gpt.input_tokens, qwen.input_tokens, claude.input_tokens + 346]
    assert with_tools[0].input_ceiling == gpt.input_ceiling + 1_024


def test_a_reply_that_no_limit_can_cut_is_reserved_whole_or_not_at_all() -> None:
    """By hand: 241 tokens of input at most, and always 4,096 of output, whatever the client's limit."""
    endless = replace(candidate("endless", Price(1_000_000_000, 4_000_000_000)), limit_parameter=None)
    case = Case(Query("", 160, 1, max_output_tokens=10), (endless,), None, 3_000_000, frozenset())
    most = 241 * 1_000 + 4_096 * 4_000
    for cap in (None, most):
        [row] = case.decide(cap=cap).choices
        assert (row.max_cost, row.min_budget, row.output_limit) == (most, most, 4_096)
    for policy in ("refuse", "cheapest"):
        decision = case.decide(cap=most - 1, on_infeasible=policy)
        assert not decision.choices
        assert decision.dropped[0].dropped == OVER_CAP
        assert decision.cheapest_feasible is not None and decision.cheapest_feasible.min_budget == most


def test_what_is_cached_unasked_is_held_at_the_price_of_writing() -> None:
    price = Price(1_000_000_000, 4_000_000_000, cache_write_per_million=1_250_000_000)
    plain, unasked = candidate("plain", price), replace(candidate("unasked", price), caches_by_itself=True)
    case = Case(Query("", 160, 1), (plain, unasked), None, 3_000_000, frozenset())
    first, second = case.decide().choices
    assert second.max_cost - first.max_cost == 241 * 250
    assert (first.writes_cache, second.writes_cache) == (False, True)
    asked = Case(Query("", 160, 1, writes_cache=True), (plain,), None, 3_000_000, frozenset())
    assert asked.decide().choices[0].max_cost == second.max_cost
