"""Exploration: exact propensities over a safe set, drawn by a number that comes from outside."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.billing.price import Price
from gateway.billing.window import Budget, window_at
from gateway.routing.circuit_breaker import always_well
from gateway.routing.decision import CandidateForecast, Decision, Preference, decide
from gateway.routing.exploration import draw, exploration_windows, explore, inverse_gap_weights, safe_set, window_key
from gateway.routing.query import Query
from gateway.tenants.policy import ExplorationSettings
from tests.gateway.billing.makers import candidate

NOW = 1_767_571_200.0 + 6 * 3_600  # 2026-01-05 06:00 UTC
PLENTY = 10**15
shares = st.floats(0.001, 1.0)
gammas = st.floats(0.0, 1e6)
ranked = st.lists(st.floats(-1e6, 1.0), min_size=1, max_size=20).map(lambda scores: sorted(scores, reverse=True))
uniforms = st.floats(0, 1, exclude_max=True)
cells = st.lists(
    st.tuples(st.floats(0, 1), st.floats(0, 0.5), st.integers(1, 4_000), st.integers(1, 10**11)), min_size=1, max_size=9
)


def decided(rows: list[tuple[float, float, int, int]], price_weight: float = 0.5, cap: int | None = None) -> Decision:
    """A decision over candidates by (quality, its std, tokens, output price)."""
    candidates = [candidate(f"c{n}", Price(price // 4, price)) for n, (_, _, _, price) in enumerate(rows)]
    forecasts = {
        f"c{n}": CandidateForecast(quality, std, tokens, 2 * tokens) for n, (quality, std, tokens, _) in enumerate(rows)
    }
    return decide(
        Query("hello", 40, 1),
        candidates,
        forecasts,
        Preference(price_weight, cap),
        reference_cost=10**8,
        is_healthy=always_well,
    )


@given(ranked, gammas, shares)
def test_propensities_sum_to_one_and_the_best_gets_the_most(scores: list[float], gamma: float, rate: float) -> None:
    weights = inverse_gap_weights(scores, gamma, rate)

    assert math.fsum(weights) == pytest.approx(1.0, abs=1e-12)
    assert all(weight > 0 for weight in weights)
    assert weights[0] == max(weights) or weights[0] == pytest.approx(max(weights))
    assert weights[1:] == sorted(weights[1:], reverse=True)


@given(ranked, gammas, shares)
def test_others_share_the_rate_at_most(scores: list[float], gamma: float, rate: float) -> None:
    assert math.fsum(inverse_gap_weights(scores, gamma, rate)[1:]) <= rate + 1e-12


@given(ranked, st.floats(1.0, 1e4))
def test_expected_loss_of_score_is_bounded_as_the_paper_says(scores: list[float], gamma: float) -> None:
    weights = inverse_gap_weights(scores, gamma)
    loss = math.fsum(p * (scores[0] - score) for p, score in zip(weights, scores, strict=True))

    assert loss <= (len(scores) - 1) / gamma + 1e-9  # each p * gap is below 1 / gamma


def test_weights_are_those_of_the_formula() -> None:
    assert inverse_gap_weights([0.9, 0.8, 0.4], 10.0) == pytest.approx([1 - 1 / 4 - 1 / 8, 1 / 4, 1 / 8])
    assert inverse_gap_weights([0.9, 0.8], 10.0, 0.1) == pytest.approx([1 - 1 / 11, 1 / 11])
    assert inverse_gap_weights([0.9], 10.0) == [1.0]
    assert inverse_gap_weights([0.5, 0.5, 0.5, 0.5], 10.0) == pytest.approx([0.25] * 4)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9).filter(lambda raw: sum(raw) > 0.01), uniforms)
def test_draw_never_takes_what_has_no_propensity(raw: list[float], uniform: float) -> None:
    propensities = [weight / sum(raw) for weight in raw]

    assert propensities[draw(propensities, uniform)] > 0
    assert draw(propensities, uniform) == draw(propensities, uniform)


def test_draw_takes_each_stretch_of_the_unit_interval() -> None:
    assert [draw([0.5, 0.0, 0.25, 0.25], u) for u in (0.0, 0.49, 0.5, 0.74, 0.75, 0.999)] == [0, 0, 2, 2, 3, 3]
    assert draw([0.1] * 3 + [0.7 - 1e-9, 0.0], 1 - 1e-12) == 3


@pytest.mark.parametrize("uniform", [-0.1, 1.0, math.nan])
def test_number_that_is_not_uniform_is_refused(uniform: float) -> None:
    with pytest.raises(ValueError, match="does not lie in"):
        draw([1.0], uniform)


def test_draw_frequencies_match_the_propensities() -> None:
    propensities = inverse_gap_weights([0.9, 0.88, 0.7, 0.2], 20.0, 0.4)
    random, count = Random(20_261), 200_000
    found = Counter(draw(propensities, random.random()) for _ in range(count))
    chi_square = sum((found[n] - p * count) ** 2 / (p * count) for n, p in enumerate(propensities))

    assert chi_square < 16.27  # 3 degrees of freedom, p = 0.001


@given(cells, st.floats(0, 1), st.floats(0, 3), st.integers(0, 10**9), uniforms)
def test_only_the_safe_set_is_drawn_from(
    rows: list[tuple[float, float, int, int]], slack: float, optimism: float, allowance: int, uniform: float
) -> None:
    settings = ExplorationSettings(rate=0.3, slack=slack, optimism=optimism)
    before = decided(rows)
    after, explored = explore(before, settings, allowance, uniform)

    assert sorted(row.candidate.name for row in after.choices) == sorted(row.candidate.name for row in before.choices)
    if explored is None:
        assert after == before
        return
    best, first = before.choices[0], after.choices[0]
    assert best.forecast is not None and first.forecast is not None
    known = dict(explored.propensities)
    assert math.fsum(known.values()) == pytest.approx(1.0)
    assert after.propensity == known[first.candidate.name] > 0
    assert explored.candidate == first.candidate.name
    assert explored.best == best.candidate.name
    if explored.explores:
        assert first.max_cost <= allowance
        assert first.forecast.quality + optimism * first.forecast.quality_std >= best.forecast.quality - slack


@given(cells, st.integers(1, 10**9), uniforms)
def test_explored_choice_is_within_the_requests_cap(
    rows: list[tuple[float, float, int, int]], cap: int, uniform: float
) -> None:
    after, _ = explore(decided(rows, cap=cap), ExplorationSettings(rate=1.0, slack=1.0), PLENTY, uniform)

    assert all(row.max_cost <= cap for row in after.choices)


@given(cells, st.integers(0, 10**9), shares)
def test_expected_cost_beyond_the_best_is_bounded(
    rows: list[tuple[float, float, int, int]], allowance: int, rate: float
) -> None:
    settings = ExplorationSettings(rate=rate, slack=1.0)
    before = decided(rows)
    _, explored = explore(before, settings, allowance, 0.5)
    costs = {row.candidate.name: row.expected_cost for row in before.choices}
    best = costs[before.choices[0].candidate.name]
    extra = math.fsum(p * max(costs[name] - best, 0) for name, p in (explored.propensities if explored else ()))

    assert extra <= rate * allowance + 1e-6


def test_nothing_is_explored_where_there_is_nothing_to_draw() -> None:
    before = decided([(0.9, 0.1, 100, 10**9), (0.3, 0.1, 100, 10**9)])
    for settings, allowance in (
        (ExplorationSettings(slack=0.1), PLENTY),  # the other is not good enough
        (ExplorationSettings(slack=1.0), 0),  # or there is no money to explore with
        (ExplorationSettings(slack=1.0, rate=0.0), PLENTY),
    ):
        assert explore(before, settings, allowance, 0.99) == (before, None)
    nobody = Decision((), ())
    assert explore(nobody, ExplorationSettings(), PLENTY, 0.5) == (nobody, None)


def test_optimism_lets_the_unsure_in() -> None:
    rows = [(0.9, 0.01, 100, 10**9), (0.6, 0.2, 100, 10**9), (0.6, 0.01, 100, 10**9)]
    choices = decided(rows).choices
    names = [choices[n].candidate.name for n in safe_set(choices, ExplorationSettings(optimism=1.0), PLENTY)]

    assert names == ["c0", "c1"]


def test_without_forecasts_nothing_is_safe() -> None:
    blind = decide(
        Query("hello", 40, 1),
        [candidate("a"), candidate("b")],
        None,
        Preference(0.0),
        reference_cost=10**8,
        is_healthy=always_well,
    )

    assert explore(blind, ExplorationSettings(), PLENTY, 0.9) == (blind, None)


def test_same_number_draws_the_same_candidate() -> None:
    rows = [(0.9, 0.1, 100, 10**9), (0.85, 0.1, 100, 10**9), (0.84, 0.1, 50, 10**9)]
    settings = ExplorationSettings(rate=0.5, gamma=0.0)
    drawn = {u: explore(decided(rows), settings, PLENTY, u)[1] for u in (0.1, 0.6, 0.95)}

    assert drawn == {u: explore(decided(rows), settings, PLENTY, u)[1] for u in drawn}
    names = [explored.candidate for explored in drawn.values() if explored]
    assert len(set(names)) == 3
    assert [explored.explores for explored in drawn.values() if explored] == [False, True, True]


@pytest.mark.parametrize(
    "change",
    [{"rate": 1.1}, {"rate": -0.1}, {"slack": 2.0}, {"gamma": math.inf}, {"optimism": -1.0}, {"gamma": math.nan}],
)
def test_settings_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        ExplorationSettings(**change)


def test_window_of_its_own_is_the_tenants() -> None:
    assert window_key("acme", "day/2026-01-05T00:00") == "acme/exploration/day/2026-01-05T00:00"


def test_windows_of_its_own_are_a_share_of_each_hard_budget_of_money() -> None:
    budgets = (
        Budget(1_000, "day"),
        Budget(9, "minute", "requests"),
        Budget(500, "month", soft=True),
        Budget(4_000, "week", rolling=True),
        Budget(7),
    )
    day, week, total = exploration_windows([window_at("acme", budget, NOW) for budget in budgets], 0.25)
    assert (day.key, day.limit, day.separate) == ("acme/exploration/day/2026-01-05T00:00", 250, True)
    assert (week.limit, total.limit) == (1_000, 1)
    assert total.key == "acme/exploration/total"
    whole = window_at("acme", budgets[3], NOW)
    assert [key.replace("/exploration", "") for key in (week.key, *week.earlier)] == [whole.key, *whole.earlier]
    assert (week.starts_at, week.ends_at, week.forget_at) == (whole.starts_at, whole.ends_at, whole.forget_at)
