"""A purse: what it reads, what it makes of that, and what of it outlives a restart or a change of terms."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from gateway.billing.price import Price
from gateway.billing.reservation import Balance
from gateway.billing.window import Budget
from gateway.routing.catalog import Catalog
from gateway.routing.decision import CandidateForecast, Decision, Preference, decide
from gateway.routing.pacing.account import UNLIMITED, AccountSettings, PacingAccount, Prices
from gateway.routing.pacing.settings import PacingSettings
from tests.fakes.requests import a_request
from tests.gateway.billing.makers import candidate

MIDNIGHT = 1_767_571_200.0
DAY = Budget(10**9, "day")
TERMS = AccountSettings("acme", PacingSettings(least=0.25, start=0.25), (DAY,))
EXPLORING = replace(TERMS, explored=(DAY, Budget(10**10)), budget_share=0.01)
CHEAP, DEAR = candidate("cheap", Price(10**8, 4 * 10**8)), candidate("dear", Price(10**10, 4 * 10**10))
PRICES = Prices(Catalog((CHEAP, DEAR)), {})
FORECASTS = {"cheap": CandidateForecast(0.4, 0.05, 100, 200), "dear": CandidateForecast(0.9, 0.05, 100, 200)}


def decision(prices: Prices = PRICES) -> Decision:
    catalog = prices.catalog
    return decide(
        a_request().query,
        tuple(catalog),
        FORECASTS,
        Preference(0.25),
        reference_cost=catalog.reference_cost,
        is_healthy=lambda _: True,
    )


HOUR_COST = 60 * decision().choices[0].expected_cost


def learned(account: PacingAccount, now: float = MIDNIGHT) -> float:
    """An hour of requests, one a minute, charged as expected; the time after it."""
    made = decision()
    cost = made.choices[0].expected_cost
    for _ in range(60):
        account.decided(now, made, 1.0)
        account.finished(cost, cost, is_refused=False)
        now += 60.0
        solve(account, now, round((now - MIDNIGHT) / 60) * cost)
    return now


def solve(account: PacingAccount, now: float, spent: int = HOUR_COST, held: int = 0) -> None:
    account.solve(now, [Balance(window, spent, held) for window in account.windows(now)])


def test_short_money_raises_lambda_and_is_labelled() -> None:
    account = PacingAccount(TERMS, PRICES)
    assert (account.price_weight, account.label) == (0.25, "")
    learned(account)
    assert account.price_weight > 0.25
    assert account.label.startswith("pace=")
    assert "@acme/day" in account.label


def test_ample_money_leaves_the_tenants_own_lambda_without_a_label() -> None:
    account = PacingAccount(replace(TERMS, paced=(Budget(10**15, "day"),)), PRICES)
    learned(account)
    assert (account.price_weight, account.label) == (0.25, "")
    assert account.paces[0].saturated == "ample"


def test_a_pace_is_known_by_the_budget_that_it_was_solved_for() -> None:
    budgets = Budget(10**9, "hour", rolling=True), Budget(10**9, "day")
    account = PacingAccount(replace(TERMS, paced=budgets), PRICES)
    assert list(account.known_paces()) == []
    solve(account, MIDNIGHT)
    account.take_terms(TERMS)  # it is known as it was until the next solve
    known = [(each.owner, each.budget, each.pace.window, each.least) for each in account.known_paces()]
    names = "acme/rolling/hour", "acme/day"
    assert known == [("acme", *each, 0.25) for each in zip(budgets, names, strict=True)]
    solve(account, MIDNIGHT)
    assert [each.budget for each in account.known_paces()] == [DAY]


def test_its_windows_are_the_paced_ones_and_explorations() -> None:
    keys = [window.key for window in PacingAccount(EXPLORING, PRICES).windows(MIDNIGHT)]
    day = "day/2026-01-05T00:00"
    assert keys == [f"acme/{day}", f"acme/exploration/{day}", "acme/exploration/total"]


def test_nothing_may_be_explored_before_the_ledger_was_read() -> None:
    account = PacingAccount(EXPLORING, PRICES)
    assert account.allowance == 0
    solve(account, MIDNIGHT, spent=10**6, held=10**5)
    assert account.allowance == 10**7 - 10**6 - 10**5, "the tightest share of all"
    assert PacingAccount(TERMS, PRICES).allowance == UNLIMITED, "there is no budget to take a share of"


def test_a_restart_goes_on_where_it_was() -> None:
    account = PacingAccount(TERMS, PRICES)
    now = learned(account)
    kept = json.dumps(account.written())
    assert not account.is_changed
    other = PacingAccount(TERMS, PRICES)
    other.restore(kept)
    assert other.price_weight == pytest.approx(account.price_weight)
    solve(other, now)
    solve(account, now)
    assert other.price_weight == pytest.approx(account.price_weight, rel=0.05)
    assert other.paces[0].expected_requests == pytest.approx(account.paces[0].expected_requests, rel=0.05)


def test_prices_that_changed_meanwhile_are_reckoned_with() -> None:
    account = PacingAccount(TERMS, PRICES)
    now = learned(account)
    dearer = (replace(CHEAP, price=Price(3 * 10**8, 12 * 10**8)), replace(DEAR, price=Price(3 * 10**10, 12 * 10**10)))
    prices = Prices(Catalog(dearer), {})
    restarted = PacingAccount(TERMS, prices)
    restarted.restore(json.dumps(account.written()))
    account.reprice(prices)
    for each in (account, restarted):
        solve(each, now)
    assert restarted.price_weight == pytest.approx(account.price_weight, rel=0.05)
    assert restarted.paces[0].expected_requests == pytest.approx(account.paces[0].expected_requests, rel=0.05)


def test_another_number_of_processes_learns_its_share_of_the_traffic_anew() -> None:
    account = PacingAccount(TERMS, PRICES)
    now = learned(account)
    four = PacingAccount(replace(TERMS, settings=replace(TERMS.settings, processes=4)), PRICES)
    four.restore(json.dumps(account.written()))
    solve(four, now)
    assert four.paces[0].expected_requests == 1.0, "nothing is known of it"
    assert four.paces[0].feedback == 1.0


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"format": None},
        {"pacer": None},
        {"pacer": {}},
        {"pacer": {"format": 99}},
        {"reference_cost": "much"},
        {"reference_cost": float("inf")},
    ],
)
def test_what_is_no_state_is_a_value_error_and_changes_nothing(change: dict[str, Any]) -> None:
    account = PacingAccount(TERMS, PRICES)
    learned(account)
    before = account.price_weight
    with pytest.raises(ValueError, match=r"."):
        account.restore(json.dumps({**account.written(), **change}))
    assert account.price_weight == before


@pytest.mark.parametrize("text", ["", "null", "[]", "7", "{", '"pacer"', "[" * 100_000])
def test_what_is_no_json_of_a_state_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        PacingAccount(TERMS, PRICES).restore(text)


@pytest.mark.parametrize("name", ["rows", "shape", "arrivals", "watches", "lagrangian"])
@pytest.mark.parametrize("broken", [None, [], [[None]], {"acme/day": 5}, [[1, ["a", 0.5, math.inf, 0, 0]]], math.nan])
def test_a_state_broken_anywhere_is_a_value_error_or_harmless(name: str, broken: Any) -> None:
    account = PacingAccount(TERMS, PRICES)
    now = learned(account)
    state = account.written()
    state["pacer"] = {**state["pacer"], name: broken}
    other = PacingAccount(TERMS, PRICES)
    try:
        other.restore(json.dumps(state))
    except ValueError:
        assert other.price_weight == 0.25, "it begins afresh"
    learned(other, now=now)
    assert other.price_weight > 0.25


def test_other_terms_keep_what_was_learned() -> None:
    account = PacingAccount(TERMS, PRICES)
    now = learned(account)
    expected = account.paces[0].expected_requests
    settings = replace(TERMS.settings, burst=0.5, least=0.5)
    account.take_terms(replace(EXPLORING, settings=settings))
    assert (account.allowance, account.terms.settings.burst) == (0, 0.5)
    assert account.is_due(now)
    solve(account, now, spent=10**6)
    assert account.paces[0].expected_requests == pytest.approx(expected, rel=0.1)
    assert account.allowance == 9 * 10**6
    assert account.price_weight >= 0.5
