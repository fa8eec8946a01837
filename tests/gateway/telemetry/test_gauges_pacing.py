"""Paces as gauges, one for each window of each tenant, under the names that its budgets have."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.billing.window import Budget
from gateway.routing.pacing.account import KnownPace
from gateway.routing.pacing.settings import PacingStatus
from gateway.telemetry.gauges import watch_paces
from gateway.telemetry.metrics import Metrics

DAY = PacingStatus("acme/day", 0.5, 10**9, 400_000_000, 300_000_000, 2e8, 1_060.0, feedback=0.9)
LASTING = PacingStatus("acme/key/laptop/rolling/hour", 0.25, 10**9, 0, 10**9, 0.0, None)


def known_paces() -> Iterator[KnownPace]:
    yield KnownPace("acme", Budget(10**9, "day"), DAY, 0.25)
    yield KnownPace("acme/key/laptop", Budget(10**9, "hour", rolling=True), LASTING, 0.25)


def test_each_window_is_a_row_of_every_gauge() -> None:
    metrics = Metrics()
    watch_paces(known_paces, metrics, lambda: 1_000.0)
    lines = metrics.render().decode().splitlines()
    for name, value in (
        ("lambda", "0.5"),
        ("plan_usd", "0.3"),
        ("spent_usd", "0.4"),
        ("burn_usd_per_hour", "0.2"),
        ("feedback", "0.9"),
        ("exhausted_in_seconds", "60.0"),
    ):
        assert f'loupe_pacing_{name}{{tenant="acme",window="day"}} {value}' in lines
    assert 'loupe_pacing_lambda{tenant="acme",window="key/laptop/rolling_hour"} 0.25' in lines


def test_what_lasts_has_no_time_to_its_end() -> None:
    metrics = Metrics()
    watch_paces(known_paces, metrics, lambda: 1_000.0)
    lines = metrics.render().decode().splitlines()
    assert len([line for line in lines if line.startswith("loupe_pacing_exhausted_in_seconds{")]) == 1
