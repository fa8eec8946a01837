"""Budget windows: calendar stretches in UTC that tile time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.budget import PERIODS, Budget, Period, window_at

LENGTHS = {"minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
SECONDS = st.integers(0, 4_102_444_800_000).map(lambda milliseconds: milliseconds / 1_000)


def stamp(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("period", "now", "starts", "ends"),
    [
        ("minute", "2026-01-31T23:59:59.999", "2026-01-31T23:59", "2026-02-01T00:00"),
        ("minute", "2026-02-01T00:00:00", "2026-02-01T00:00", "2026-02-01T00:01"),
        ("hour", "2026-12-31T23:30", "2026-12-31T23:00", "2027-01-01T00:00"),
        ("day", "2024-02-28T12:00", "2024-02-28", "2024-02-29"),
        ("day", "2024-02-29T23:59:59", "2024-02-29", "2024-03-01"),
        ("day", "2026-12-31T00:00", "2026-12-31", "2027-01-01"),
        ("week", "2026-01-01T00:00", "2025-12-29", "2026-01-05"),
        ("week", "2026-01-05T00:00", "2026-01-05", "2026-01-12"),
        ("week", "2026-01-04T23:59:59", "2025-12-29", "2026-01-05"),
        ("month", "2026-01-31T23:59:59", "2026-01-01", "2026-02-01"),
        ("month", "2024-02-29T12:00", "2024-02-01", "2024-03-01"),
        ("month", "2026-02-28T12:00", "2026-02-01", "2026-03-01"),
        ("month", "2026-12-31T23:59:59", "2026-12-01", "2027-01-01"),
        ("month", "2026-12-01T00:00", "2026-12-01", "2027-01-01"),
    ],
)
def test_window_of_a_moment(period: Period, now: str, starts: str, ends: str) -> None:
    window = window_at("acme", Budget(5, period), stamp(now))
    assert (window.starts_at, window.ends_at) == (stamp(starts), stamp(ends))
    assert window.limit == 5


def test_total_never_ends() -> None:
    early, late = (window_at("acme", Budget(5), now) for now in (0.0, 4e9))
    assert early == late
    assert early.ends_at is None


@given(SECONDS, st.sampled_from([p for p in get_args(Period) if p != "total"]))
def test_windows_tile_time(now: float, period: Period) -> None:
    window = window_at("acme", Budget(1, period), now)
    assert window.ends_at is not None
    assert window.starts_at <= now < window.ends_at
    assert window_at("acme", Budget(1, period), window.starts_at) == window
    after = window_at("acme", Budget(1, period), window.ends_at)
    assert after.starts_at == window.ends_at
    assert after.key != window.key
    length = window.ends_at - window.starts_at
    assert length == LENGTHS[period] if period in LENGTHS else 28 <= length / 86_400 <= 31


@given(SECONDS)
def test_no_two_periods_or_tenants_share_a_key(now: float) -> None:
    keys = [window_at(name, Budget(1, p), now).key for name in ("a", "b") for p in get_args(Period)]
    assert len(set(keys)) == len(keys) == 2 * len(PERIODS)


def test_limit_is_no_part_of_the_key() -> None:
    assert window_at("a", Budget(1, "day"), 0).key == window_at("a", Budget(2, "day"), 0).key
