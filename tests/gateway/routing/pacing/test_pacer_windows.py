"""Pacing several windows, rolling and endless ones, and over a restart."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from gateway.routing.pacing.pacer import Pacer
from gateway.routing.pacing.settings import PacingSettings, WindowPosition
from tests.gateway.routing.pacing.paced_tenant import DAY, HOUR, REFERENCE, START, Tenant

HALF = 120 * 24 * 450_000
"""Pays for somewhat less than half of what the dear candidate would cost in a day."""


def test_restart_goes_on_at_the_same_lambda() -> None:
    tenant = Tenant(HALF)
    tenant.run(DAY / 2)
    state = json.loads(json.dumps(tenant.pacer.state()))
    before, tenant.pacer = tenant.pacer.price_weight, Pacer(tenant.settings, REFERENCE)
    tenant.pacer.restore(state)
    assert tenant.pacer.price_weight == before
    after = tenant.run(DAY * 0.55)

    assert after[3].price_weight == pytest.approx(before, rel=0.35)
    assert after[3].feedback == pytest.approx(1.0, abs=0.1)
    tenant.run(DAY)
    assert tenant.spent == pytest.approx(HALF, rel=0.01)


def test_state_is_small() -> None:
    tenant = Tenant(HALF)
    tenant.run(DAY)

    assert len(json.dumps(tenant.pacer.state())) < 40_000


@pytest.mark.parametrize(
    "change", [{"format": 99}, {"lagrangian": -1.0}, {"rows": [[1.0]]}, {"arrivals": None}, {"watches": {"a": [1]}}]
)
def test_state_that_is_none_changes_nothing(change: dict[str, object]) -> None:
    tenant = Tenant(HALF)
    tenant.run(DAY / 10)
    pacer = Pacer(tenant.settings, REFERENCE)
    with pytest.raises((KeyError, TypeError, ValueError)):
        pacer.restore(tenant.pacer.state() | change)

    assert pacer.price_weight == tenant.settings.start


def test_tightest_window_wins() -> None:
    tenant = Tenant(HALF)
    tenant.run(DAY / 2)
    wide = tenant.standing()
    narrow = WindowPosition("acme/month", HALF, 0, 0, START, START + 30 * DAY)
    paces = tenant.pacer.solve(tenant.now + 5, [wide, narrow])

    assert [pace.window for pace in paces] == ["acme/run", "acme/month"]
    assert paces[1].price_weight > paces[0].price_weight
    assert tenant.pacer.tightest == paces[1]
    assert tenant.pacer.price_weight == paces[1].price_weight


def test_budget_without_end_is_not_paced() -> None:
    tenant = Tenant(HALF, settings=PacingSettings(least=0.3))
    tenant.run(DAY / 10)
    (pace,) = tenant.pacer.solve(tenant.now + 5, [WindowPosition("acme/total", HALF, 0, 0, 0.0, None)])

    assert pace.plan_to_date is None
    assert tenant.pacer.tightest is None
    assert tenant.pacer.price_weight == 0.3


@dataclass
class _Rolling(Tenant):
    """With a window that rolls, at its beginning: nothing has left it yet."""

    def standing(self) -> WindowPosition:
        return WindowPosition("acme/rolling", self.limit, self.spent, 0, self.now - DAY, None, is_rolling=True)


GREEDY = PacingSettings(start=0.0, least_rows=10**6)


def test_a_rolling_window_runs_out_at_a_burn_that_its_length_does_not_bear() -> None:
    tenant = _Rolling(HALF, settings=GREEDY)
    pace = tenant.run(DAY / 8)[-1]
    left = (HALF - pace.spent) / pace.burn_per_hour * HOUR

    assert pace.exhausted_at == pytest.approx(START + DAY / 8 + left, abs=300)


def test_a_rolling_window_lasts_where_what_is_spent_leaves_it_in_time() -> None:
    burn = _Rolling(HALF, settings=GREEDY).run(DAY / 8)[-1].burn_per_hour
    tenant = _Rolling(round(1.1 * burn * 24), settings=GREEDY)
    tenant.run(DAY / 8)
    nearly = tenant.standing()._replace(spent=tenant.limit * 19 // 20)
    (pace,) = tenant.pacer.solve(tenant.now + 5, [nearly])

    assert pace.exhausted_at is None


def test_rolling_window_is_paced_at_its_limit_over_its_length() -> None:
    tenant = Tenant(HALF)
    tenant.run(DAY)
    now = tenant.now + 5
    (even,) = tenant.pacer.solve(now, [WindowPosition("acme/rolling", HALF, HALF, 0, now - DAY, None, True)])
    (over,) = tenant.pacer.solve(
        now + 5, [WindowPosition("acme/rolling", HALF, HALF * 6 // 5, 0, now - DAY, None, True)]
    )

    assert even.price_weight > 0
    assert over.price_weight > even.price_weight
