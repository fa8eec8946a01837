"""Windows beyond the calendar in UTC: time zones, rolling ones, other units, sessions and keys."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from gateway.billing.window import ROLLING_PARTS, ROLLING_S, Budget, session_window, window_at
from gateway.tenants.tenant import Tenant

DAY_S = 86_400.0


def stamp(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_a_day_begins_at_midnight_of_its_zone() -> None:
    window = window_at("acme", Budget(1, "day", zone="Asia/Tokyo"), stamp("2026-03-01T16:00"))
    assert (window.starts_at, window.ends_at) == (stamp("2026-03-01T15:00"), stamp("2026-03-02T15:00"))


def test_days_on_which_clocks_change_are_23_and_25_hours_long() -> None:
    lengths = []
    for noon in ("2026-03-29T12:00", "2026-10-25T12:00"):
        window = window_at("acme", Budget(1, "day", zone="Europe/Berlin"), stamp(noon))
        assert window.ends_at is not None
        lengths.append((window.ends_at - window.starts_at) / 3600)
    assert lengths == [23, 25]


@given(st.integers(0, 4_000_000_000), st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu"]))
def test_days_of_a_zone_tile_time(now: int, zone: str) -> None:
    window = window_at("acme", Budget(1, "day", zone=zone), now)
    assert window.ends_at is not None
    assert window.starts_at <= now < window.ends_at
    assert window_at("acme", Budget(1, "day", zone=zone), window.ends_at).starts_at == window.ends_at


def test_minutes_and_hours_are_cut_in_utc_whatever_the_zone() -> None:
    for period in ("minute", "hour"):
        here, there = (window_at("acme", Budget(1, period, zone=zone), 1e9) for zone in ("UTC", "Asia/Kathmandu"))
        assert here == there


@given(st.integers(0, 4_000_000_000), st.sampled_from(sorted(ROLLING_S)))
def test_a_rolling_window_counts_its_whole_length_and_at_most_a_part_more(now: int, period: str) -> None:
    budget = Budget(1, period, rolling=True)  # type: ignore[arg-type]
    window, length = window_at("acme", budget, now), ROLLING_S[period]
    counted = {window.key, *window.earlier}
    assert len(counted) == ROLLING_PARTS + 1
    assert window_at("acme", budget, max(now - length, 0)).key in counted | {window_at("acme", budget, 0).key}
    before = now - length - length / ROLLING_PARTS
    if before >= 0:
        assert window_at("acme", budget, before).key not in counted


def test_a_rolling_window_says_when_it_lets_go_of_something() -> None:
    window = window_at("acme", Budget(1, "minute", rolling=True), 601.0)
    assert window.ends_at == 605.0


def test_every_kind_of_window_has_a_key_of_its_own() -> None:
    budgets = [
        Budget(1, "day"),
        Budget(1, "day", unit="tokens"),
        Budget(1, "day", unit="requests"),
        Budget(1, "day", rolling=True),
        Budget(1, "day", zone="Asia/Tokyo"),
        Budget(1, "week"),
        Budget(1),
        Budget(1, unit="requests"),
    ]
    now = stamp("2026-03-02T12:00")
    keys = [window_at(owner, budget, now).key for owner in ("acme", "acme/key/a", "acme/key/b") for budget in budgets]
    keys.append(session_window("acme", "s", 1, now).key)
    assert len(set(keys)) == len(keys)
    assert all(key.partition("/")[0] == "acme" for key in keys)


def test_a_tenant_and_its_key_have_windows_of_their_own() -> None:
    tenant = Tenant("acme", ("a",), 0.8, budgets=(Budget(10),), key="laptop", key_budgets=(Budget(5),))
    assert [(window.key, window.limit) for window in tenant.windows(0.0)] == [
        ("acme/total", 10),
        ("acme/key/laptop/total", 5),
    ]


def test_a_session_is_forgotten_some_time_after_its_last_request() -> None:
    first, later = (session_window("acme", "s", 5, now) for now in (0.0, 10 * DAY_S))
    assert first.key == later.key
    assert first.ends_at is None
    assert first.forget_at is not None and later.forget_at is not None
    assert later.forget_at - first.forget_at == 10 * DAY_S
