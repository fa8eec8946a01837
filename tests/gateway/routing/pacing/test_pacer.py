"""Pacing: money lasts until the window ends, and no longer."""

from __future__ import annotations

import math

import pytest

from gateway.routing.pacing.cost_curve import Option
from gateway.routing.pacing.pacer import Pacer
from gateway.routing.pacing.settings import PacingSettings, WindowPosition
from tests.gateway.routing.pacing.paced_tenant import COSTS, DAY, HOUR, REFERENCE, START, Tenant

REQUESTS = 120 * 24
HALF = REQUESTS * 450_000
"""Pays for somewhat less than half of what the dear candidate would cost in a day."""


def diurnal(seconds: float) -> float:
    return 120 * (1 - 0.8 * math.cos(2 * math.pi * seconds / DAY))


def test_day_ends_on_its_plan() -> None:
    tenant = Tenant(HALF)
    tenant.run(DAY)

    assert tenant.spent == pytest.approx(HALF, rel=0.01)
    assert tenant.refused <= 3


def test_spend_follows_the_plan_all_day_long() -> None:
    tenant = Tenant(HALF)
    for pace in tenant.serve(DAY):
        assert pace.plan_to_date is not None
        assert abs(pace.spent - pace.plan_to_date) < 0.08 * HALF


def test_paced_spend_buys_more_than_the_same_money_first_come_first_served() -> None:
    paced = Tenant(HALF)
    paced.run(DAY)
    greedy = Tenant(HALF, settings=PacingSettings(start=0.0, resolve_s=1e9, resolve_least_s=1e9))
    greedy.run(DAY)

    assert greedy.refused > 0.3 * greedy.requests
    assert paced.quality > 1.3 * greedy.quality


@pytest.mark.parametrize("bias", [0.8, 1.2, 2.0])
def test_forecasts_that_are_off_are_corrected(bias: float) -> None:
    tenant = Tenant(HALF, bias=bias)
    paces = tenant.run(DAY)

    assert tenant.spent == pytest.approx(HALF, rel=0.01)
    assert tenant.refused <= 5
    assert paces[-1].feedback == pytest.approx(1 / bias, rel=0.1)


@pytest.mark.slow
def test_traffic_that_doubles_at_noon_is_followed() -> None:
    tenant = Tenant(HALF, rate=lambda s: 120.0 if s < DAY / 2 else 240.0)
    before = tenant.run(DAY / 2)[-1]
    after = tenant.run(DAY * 0.6)[-1]
    tenant.run(DAY)

    assert after.price_weight > before.price_weight
    assert tenant.spent == pytest.approx(HALF, rel=0.01)
    assert tenant.refused <= 5


def test_price_change_is_met_at_the_next_solve() -> None:
    tenant = Tenant(HALF)
    before = tenant.run(DAY / 2)[-1]
    tenant.prices["dear"] = 2.0
    tenant.pacer.reprice(lambda name, tokens, _: round(COSTS[name] * tokens / 100 * tenant.prices[name]), REFERENCE)
    (after,) = tenant.pacer.solve(tenant.now + 5, [tenant.standing()])
    tenant.run(DAY)

    assert after.price_weight != pytest.approx(before.price_weight, rel=0.01)
    assert tenant.spent == pytest.approx(HALF, rel=0.01)


def test_lambda_keeps_its_trade_when_the_reference_moves() -> None:
    tenant = Tenant(HALF)
    tenant.run(DAY / 4)
    before = tenant.pacer.price_weight
    tenant.pacer.reprice(lambda name, tokens, _: round(COSTS[name] * tokens / 100), 2 * REFERENCE)

    assert tenant.pacer.price_weight == pytest.approx(2 * before)


def test_ample_money_buys_the_best_and_says_so() -> None:
    tenant = Tenant(REQUESTS * 2_000_000)
    paces = tenant.run(DAY)

    assert paces[-1].saturated == "ample"
    assert paces[-1].price_weight == 0.0
    assert paces[-1].exhausted_at is None


def test_tenants_own_preference_stands_when_money_is_ample() -> None:
    tenant = Tenant(REQUESTS * 2_000_000, settings=PacingSettings(least=0.25))

    assert tenant.run(DAY / 4)[-1].price_weight == 0.25


def test_money_that_not_even_the_cheapest_fit_is_said_to_be_short() -> None:
    tenant = Tenant(REQUESTS * 10_000)
    paces = tenant.run(DAY / 2)

    assert paces[-1].saturated == "short"
    assert tenant.pacer.price_weight > 1.0
    assert "short" in paces[-1].label


@pytest.mark.slow
def test_nothing_winds_up_while_money_is_short() -> None:
    tenant = Tenant(REQUESTS * 10_000)
    tenant.run(DAY / 2)
    assert tenant.refused > 0
    tenant.limit = HALF
    (pace,) = tenant.pacer.solve(tenant.now + 5, [tenant.standing()])
    fresh = Tenant(HALF)
    fresh.run(DAY / 2)

    assert pace.feedback == pytest.approx(1.0, abs=0.1)
    assert pace.price_weight < tenant.settings.start  # there is more than half of the money for half of the day
    tenant.run(DAY)
    assert tenant.spent > 0.9 * min(HALF, REQUESTS / 2 * COSTS["dear"])


def test_feedback_is_frozen_while_holds_are_refused() -> None:
    tenant = Tenant(HALF)
    before = tenant.run(DAY / 4)[-1]
    for _ in range(50):
        tenant.now += 10
        tenant.pacer.decided(tenant.now, tenant.options())
        tenant.pacer.finished(0, 0, is_refused=True)
        (pace,) = tenant.pacer.solve(tenant.now, [tenant.standing()])

    assert pace.is_frozen
    assert "frozen" in pace.label
    assert pace.feedback == pytest.approx(before.feedback, rel=0.05)


@pytest.mark.slow
def test_burst_does_not_run_ahead_of_the_plan_by_more_than_its_cap() -> None:
    ahead = {}
    for burst in (0.03, 1.0):
        tenant = Tenant(HALF, settings=PacingSettings(burst=burst), rate=lambda s: 1_500.0 if s > 6 * HOUR else 120.0)
        paces = tenant.serve(7 * HOUR)
        ahead[burst] = max((pace.spent - (pace.plan_to_date or 0)) / HALF for pace in paces)

    assert ahead[0.03] < 0.035
    assert ahead[1.0] > 0.05


def test_burst_cap_is_said_where_it_sets_lambda() -> None:
    tenant = Tenant(HALF)
    tenant.run(DAY / 10)
    ahead = tenant.standing()._replace(spent=round(0.16 * HALF))
    (pace,) = tenant.pacer.solve(tenant.now + 5, [ahead])

    assert pace.is_capped
    assert "burst" in pace.label


def test_money_missed_in_an_outage_is_spread_over_what_is_left() -> None:
    tenant = Tenant(HALF)
    before = tenant.run(DAY / 4)[-1]
    tenant.now = START + DAY / 2
    after = tenant.run(DAY * 0.6)[-1]

    assert after.price_weight < before.price_weight
    tenant.run(DAY)
    assert tenant.spent == pytest.approx(HALF, rel=0.01)


@pytest.mark.slow
def test_diurnal_traffic_is_learned_and_lambda_grows_steady() -> None:
    tenant = Tenant(4 * HALF, length=4 * DAY, rate=diurnal)
    tenant.run(3 * DAY)
    fourth = [pace.price_weight for pace in tenant.serve(3.8 * DAY)]
    tenant.run(4 * DAY)

    assert tenant.spent == pytest.approx(4 * HALF, rel=0.01)
    assert max(fourth) < 2 * min(fourth)


@pytest.mark.slow
def test_next_day_begins_where_the_last_left_off() -> None:
    tenant = Tenant(HALF)
    tenant.run(DAY)
    tenant.spent = 0
    second = tenant.run(2 * DAY)

    assert tenant.spent == pytest.approx(HALF, rel=0.01)
    assert second[20].price_weight == pytest.approx(second[len(second) // 2].price_weight, rel=0.4)


def test_lambda_stays_as_it_started_until_a_few_requests_were_seen() -> None:
    tenant = Tenant(HALF, settings=PacingSettings(start=0.7, least_rows=8))
    for number in range(9):
        assert tenant.pacer.price_weight == 0.7
        tenant.now += 10
        tenant.request()
        (pace,) = tenant.pacer.solve(tenant.now, [tenant.standing()])
        assert (pace.price_weight == 0.7) == (number < 7)
        if number == 7:
            return


def test_solve_is_due_by_time_or_by_requests_and_never_too_often() -> None:
    pacer = Pacer(PacingSettings(resolve_s=2.0, resolve_requests=64, resolve_least_s=0.25), REFERENCE)
    assert pacer.is_due(START)
    pacer.solve(START, [])
    assert not pacer.is_due(START + 1.9)
    assert pacer.is_due(START + 2.0)
    for _ in range(64):
        pacer.decided(START, [Option("a", 0.5, 1)])
    assert not pacer.is_due(START + 0.2)
    assert pacer.is_due(START + 0.25)
    assert pacer.is_due(START - 100.0)  # the clock was set back


def test_clock_set_back_does_not_upset_the_pace() -> None:
    tenant = Tenant(HALF)
    before = tenant.run(DAY / 2)[-1]
    tenant.now -= HOUR
    (pace,) = tenant.pacer.solve(tenant.now, [tenant.standing()])

    assert pace.price_weight == pytest.approx(before.price_weight, rel=0.5)


def test_held_money_is_not_spent_twice() -> None:
    tenant = Tenant(HALF)
    tenant.run(DAY / 2)
    free = tenant.standing()
    (without,) = tenant.pacer.solve(tenant.now + 5, [free])
    (with_holds,) = tenant.pacer.solve(tenant.now + 6, [free._replace(held=HALF // 4)])

    assert with_holds.price_weight > without.price_weight


def test_exhaustion_is_projected_from_the_burn() -> None:
    tenant = Tenant(HALF, settings=PacingSettings(start=0.0, least_rows=10**6))  # greedy
    (pace,) = tenant.run(DAY / 8)[-1:]
    left = (HALF - pace.spent) / pace.burn_per_hour * HOUR

    assert pace.exhausted_at == pytest.approx(START + DAY / 8 + left, abs=300)
    (spent,) = tenant.pacer.solve(tenant.now + 5, [tenant.standing()._replace(spent=HALF)])
    assert spent.exhausted_at == tenant.now + 5


def test_pinned_and_one_sided_requests_are_counted_in() -> None:
    settings = PacingSettings()
    paced, pinned = Pacer(settings, REFERENCE), Pacer(settings, REFERENCE)
    for number in range(100):
        options = [Option("dear", 0.9, 1_000_000), Option("cheap", 0.9 - 0.005 * number, 20_000)]
        scale = 0.0 if number % 2 else 1.0
        for pacer in (paced, pinned):
            pacer.decided(START + number, options, 1.0 if pacer is paced else scale)
    window = WindowPosition("acme/day", 60_000_000_000, 0, 0, START, START + DAY)
    for pacer in (paced, pinned):
        pacer.solve(START, [window])
        pacer.decided(START + 100, [])
        pacer.solve(START + 100, [window])
    assert paced.tightest is not None and pinned.tightest is not None

    assert pinned.tightest.price_weight > paced.tightest.price_weight  # the others have to save for them
