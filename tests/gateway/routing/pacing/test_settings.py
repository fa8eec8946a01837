"""What a request makes of the paced lambda, and how a pace is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.billing.window import Budget, window_at
from gateway.routing.decision import LARGEST_LAMBDA, price_weight_of
from gateway.routing.pacing.settings import (
    PacingStatus,
    WindowPosition,
    own_price_weight,
    paced_budgets,
    pacing_settings,
    request_scale,
    scale_of,
    scaled,
    standing_of,
)
from gateway.tenants.policy import TenantPacingSettings

NOW = 1_767_571_200.0 + 6 * 3_600  # 2026-01-05 06:00 UTC


def test_quality_weight_scales_lambda() -> None:
    assert scaled(0.4, scale_of(0.5)) == 0.4
    assert scaled(0.4, scale_of(1.0)) == 0.0
    assert scaled(0.4, scale_of(0.2)) == pytest.approx(1.6)
    assert scaled(0.4, scale_of(0.0)) == scaled(0.0, scale_of(0.0)) == LARGEST_LAMBDA
    assert scaled(1e9, scale_of(1e-6)) == LARGEST_LAMBDA


def test_label_names_the_window_and_the_lambda() -> None:
    pace = PacingStatus("acme/day", 0.12345, 100, 50, 40, 1.0, None)

    assert pace.label == "pace=0.1235@acme/day"
    assert replace(pace, saturated="short", is_capped=True).label == "pace=0.1235@acme/day:short:burst"


def standing(budget: Budget) -> WindowPosition:
    return standing_of(budget, window_at("acme", budget, NOW), 7, 3, NOW)


def test_calendar_window_stands_from_its_start_to_its_end() -> None:
    assert standing(Budget(100, "day")) == WindowPosition("acme/day", 100, 7, 3, NOW - 6 * 3_600, NOW + 18 * 3_600)


def test_rolling_window_stands_over_its_length_up_to_now() -> None:
    assert standing(Budget(100, "day", rolling=True)) == WindowPosition(
        "acme/rolling/day", 100, 7, 3, NOW - 86_400, None, is_rolling=True
    )


def test_budget_without_end_stands_without_one() -> None:
    found = standing(Budget(100, "total"))

    assert (found.name, found.ends_at, found.is_rolling) == ("acme/total", None, False)


def test_name_stays_from_one_period_to_the_next() -> None:
    budget = Budget(100, "hour")
    later = standing_of(budget, window_at("acme", budget, NOW + 3_600), 0, 0, NOW + 3_600)

    assert later.name == standing(budget).name
    assert later.starts_at != standing(budget).starts_at


def test_limits_of_requests_and_tokens_are_not_paced() -> None:
    with pytest.raises(ValueError, match="counts tokens"):
        standing(Budget(100, "minute", unit="tokens"))


def test_hard_windows_of_money_of_an_hour_or_longer_are_paced() -> None:
    paced = (
        Budget(5, "hour"),
        Budget(5, "day", zone="Asia/Tokyo"),
        Budget(5, "week", rolling=True),
        Budget(5, "month"),
    )
    others = (Budget(5), Budget(5, "minute"), Budget(5, "day", soft=True), Budget(5, "day", "tokens"))
    assert paced_budgets((*others, *paced)) == paced


def test_of_two_limits_of_one_window_the_tighter_is_paced() -> None:
    assert paced_budgets((Budget(5, "day"), Budget(3, "day"), Budget(9, "day"))) == (Budget(3, "day"),)


@pytest.mark.parametrize("own", [0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("named", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_a_named_weight_at_the_least_pace_is_just_its_own_lambda(own: float, named: float) -> None:
    assert scaled(own_price_weight(own), request_scale(named, own)) == pytest.approx(price_weight_of(named))


def test_who_names_no_weight_pays_the_paced_lambda() -> None:
    assert [request_scale(None, own) for own in (0.3, 0.8, 1.0)] == [1.0, 1.0, 1.0]
    assert scaled(0.0, request_scale(None, 0.0)) == LARGEST_LAMBDA


def test_at_the_ends_of_the_scale_the_paced_lambda_rises_from_0() -> None:
    assert own_price_weight(1.0) == own_price_weight(0.0) == 0.0
    assert request_scale(0.5, 1.0) == request_scale(0.5, 0.0) == 1.0


def test_terms_are_settings_that_begin_at_the_tenants_own_lambda() -> None:
    settings = pacing_settings(TenantPacingSettings("even", 0.2), 0.8, 4)
    assert (settings.learns_shape, settings.burst, settings.processes) == (False, 0.2, 4)
    assert settings.least == settings.start == pytest.approx(0.25)
