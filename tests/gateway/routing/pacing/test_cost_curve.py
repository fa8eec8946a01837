"""The curve of spend over lambda: it is what deciding anew would give."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.billing.price import Price
from gateway.routing.circuit_breaker import always_well
from gateway.routing.decision import CandidateForecast, Preference, decide
from gateway.routing.pacing.cost_curve import Option, RecentDecisions, envelope, options_of
from gateway.routing.query import Query
from tests.gateway.billing.makers import candidate

options = st.builds(
    Option, st.sampled_from("abcdef"), st.integers(0, 100).map(lambda n: n / 100), st.integers(0, 1_000)
)
requests = st.lists(st.lists(options, min_size=1, max_size=8), min_size=1, max_size=12)


def chosen(row: list[Option], price_weight: float) -> Option:
    return min(row, key=lambda option: (-(option.quality - price_weight * option.cost), option.cost))


def recent(rows: list[list[Option]], scale: float = 1.0) -> RecentDecisions:
    kept = RecentDecisions(1_000, 0.0)
    for number, row in enumerate(rows):
        kept.note(float(number), row, scale)
    return kept


@given(st.lists(options, min_size=1, max_size=10), st.floats(1e-6, 1.0))
def test_envelope_keeps_whatever_is_best_at_some_lambda(row: list[Option], price_weight: float) -> None:
    hull = envelope(row)
    best = max(option.quality - price_weight * option.cost for option in row)

    assert max(option.quality - price_weight * option.cost for option in hull) == pytest.approx(best)
    assert hull[0].quality == max(option.quality for option in row)
    assert hull[-1].cost == min(option.cost for option in row)
    assert [o.cost for o in hull] == sorted((o.cost for o in hull), reverse=True)


@given(requests)
def test_curve_is_what_deciding_anew_costs_right_after_each_step(rows: list[list[Option]]) -> None:
    curve = recent(rows).curve()
    assert curve is not None
    assert curve.dearest == pytest.approx(sum(chosen(row, 0.0).cost for row in rows) / len(rows))
    assert curve.cheapest == pytest.approx(sum(min(o.cost for o in row) for row in rows) / len(rows))
    for row in rows:
        for dear, cheap in pairwise(envelope(row)):
            past = (dear.quality - cheap.quality) / (dear.cost - cheap.cost) * (1 + 1e-9)
            anew = sum(chosen(row, past).cost for row in rows) / len(rows)
            assert curve.cost_at(past) == pytest.approx(anew, abs=1e-3)


@given(requests, st.floats(0, 1_000))
def test_solved_lambda_costs_what_was_asked_or_is_at_an_end(rows: list[list[Option]], wanted: float) -> None:
    curve = recent(rows).curve()
    assert curve is not None
    price_weight = curve.solve(wanted)

    if wanted >= curve.dearest:
        assert price_weight == 0.0
    elif wanted < curve.cheapest:
        assert price_weight == 2 * curve.last_break
        assert curve.cost_at(price_weight) == curve.cheapest
    else:
        assert curve.cost_at(price_weight * (1 + 1e-9)) <= wanted + 1e-6
        assert price_weight == 0.0 or curve.cost_at(price_weight * (1 - 1e-9)) >= wanted - 1e-3 * curve.dearest - 1e-6


def test_steps_stand_where_two_options_tie() -> None:
    curve = recent([[Option("dear", 0.9, 500), Option("cheap", 0.4, 100)]]).curve()
    assert curve is not None

    tie = 0.5 / 400
    assert curve.last_break == pytest.approx(tie)
    assert curve.cost_at(tie * 0.999) == 500
    assert curve.cost_at(tie) == 100


def test_scale_moves_a_request_along_lambda() -> None:
    rows = [[Option("dear", 0.9, 500), Option("cheap", 0.4, 100)]]
    plain, keen, saving = (recent(rows, scale).curve() for scale in (1.0, 0.25, 4.0))
    assert plain is not None and keen is not None and saving is not None

    assert keen.last_break == pytest.approx(4 * plain.last_break)
    assert saving.last_break == pytest.approx(plain.last_break / 4)


def test_request_that_wants_only_quality_or_only_price_costs_the_same_at_any_lambda() -> None:
    rows = [[Option("dear", 0.9, 500), Option("cheap", 0.4, 100)]]
    best, cheapest = recent(rows, 0.0).curve(), recent(rows, math.inf).curve()
    assert best is not None and cheapest is not None

    assert best.dearest == best.cheapest == 500
    assert cheapest.dearest == cheapest.cheapest == 100


def test_only_the_last_requests_are_kept_and_none_that_comes_too_soon() -> None:
    kept = RecentDecisions(3, 1.0)
    for now in (0.0, 0.5, 1.0, 2.0, 2.2, 3.0):
        kept.note(now, [Option("a", 0.5, round(now * 10))], 1.0)
    curve = kept.curve()
    assert curve is not None

    assert len(kept) == 3
    assert curve.dearest == pytest.approx((10 + 20 + 30) / 3)


def test_options_of_a_request_that_is_not_kept_are_not_read() -> None:
    kept = RecentDecisions(3, 1.0)
    kept.note(0.0, [Option("a", 0.5, 1)], 1.0)
    unread = iter([Option("b", 0.5, 1)])
    kept.note(0.5, unread, 1.0)

    assert next(unread).candidate == "b"


def test_new_prices_recost_what_is_kept_and_forget_what_is_gone() -> None:
    kept = recent([[Option("a", 0.9, 500, 10, 40), Option("b", 0.4, 100, 10, 5), Option("c", 0.3, 50, 1, 1)]])
    kept.reprice(lambda name, read, written: None if name == "c" else read + 2 * written)
    curve = kept.curve()
    assert curve is not None

    assert curve.dearest == 90
    assert curve.cheapest == 20


def test_request_whose_candidates_are_all_gone_is_forgotten() -> None:
    kept = recent([[Option("a", 0.9, 500)]])
    kept.reprice(lambda name, read, written: None)

    assert len(kept) == 0
    assert kept.curve() is None


@given(requests)
def test_state_outlives_a_restart(rows: list[list[Option]]) -> None:
    kept, again = recent(rows), RecentDecisions(1_000, 0.0)
    again.restore(json.loads(json.dumps(kept.state(1_000))))
    old, new = kept.curve(), again.curve()
    assert old is not None and new is not None

    assert (new.dearest, new.cheapest, new.last_break) == (old.dearest, old.cheapest, old.last_break)


@pytest.mark.parametrize(
    "row", [[1.0], [-1.0, ["a", 0.5, 1, 0, 0]], [1.0, ["a", math.nan, 1, 0, 0]], [1.0, ["a", 0.5]]]
)
def test_state_that_is_none_is_refused(row: list[object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        RecentDecisions(10, 0.0).restore([row])


def test_options_are_those_of_the_decision() -> None:
    dear, cheap = candidate("dear"), candidate("cheap", Price(100_000_000, 400_000_000))
    forecasts = {"dear": CandidateForecast(0.8, 0.1, 200, 400), "cheap": CandidateForecast(0.5, 0.1, 100, 300)}
    query = Query("hello", 40, 1)
    decided = decide(query, (dear, cheap), forecasts, Preference(0.0), reference_cost=10**6, is_healthy=always_well)
    found = list(options_of(decided))

    assert [option.candidate for option in found] == ["dear", "cheap"]
    assert [option.cost for option in found] == [row.expected_cost for row in decided.choices]
    assert [option.output_tokens for option in found] == [200, 100]
    assert all(option.input_tokens == row.input_tokens for option, row in zip(found, decided.choices, strict=True))


def test_without_forecasts_the_first_choice_is_the_only_option() -> None:
    decided = decide(
        Query("hello", 40, 1),
        (candidate("first"), candidate("second")),
        None,
        Preference(0.0),
        reference_cost=10**6,
        is_healthy=always_well,
    )

    assert [option.candidate for option in options_of(decided)] == ["first"]
