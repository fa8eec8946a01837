"""Budget windows: calendar stretches in UTC that tile time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.billing.window import PERIODS, Budget, Period, Window, session_window, window_at

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


NOON = stamp("2026-03-02T12:34:56")
TOKYO_DAY = Budget(5, "day", zone="Asia/Tokyo")


@pytest.mark.parametrize(
    ("budget", "key"),
    [
        (Budget(5), "acme/total"),
        (Budget(5, unit="requests"), "acme/requests/total"),
        (Budget(5, "total", rolling=True), "acme/total"),
        (Budget(5, "minute"), "acme/minute/2026-03-02T12:34"),
        (Budget(5, "minute", "tokens"), "acme/tokens/minute/2026-03-02T12:34"),
        (Budget(5, "hour"), "acme/hour/2026-03-02T12:00"),
        (Budget(5, "day"), "acme/day/2026-03-02T00:00"),
        (Budget(5, "day", "requests"), "acme/requests/day/2026-03-02T00:00"),
        (Budget(5, "week"), "acme/week/2026-03-02T00:00"),
        (Budget(5, "month"), "acme/month/2026-03-01T00:00"),
        (Budget(5, "hour", zone="Asia/Kathmandu"), "acme/hour/2026-03-02T12:00"),
        (Budget(5, "minute", zone="Asia/Kathmandu"), "acme/minute/2026-03-02T12:34"),
        (TOKYO_DAY, "acme/day@Asia/Tokyo/2026-03-02T00:00"),
        (Budget(5, "month", "tokens", zone="Asia/Tokyo"), "acme/tokens/month@Asia/Tokyo/2026-03-01T00:00"),
        (Budget(5, "hour", rolling=True), "acme/rolling/hour/5908182"),
        (Budget(5, "hour", "requests", rolling=True), "acme/rolling/requests/hour/5908182"),
    ],
)
def test_a_window_is_kept_under_a_name_that_stays(budget: Budget, key: str) -> None:
    """Stores have these names on disk: under another one, what was spent is not found. The last two by hand: 12:34:56
    is 1,772,454,896 s since the epoch, in the part 5,908,182 of 300 s each.
    """
    assert window_at("acme", budget, NOON).key == key


def test_a_window_takes_its_terms_from_its_budget() -> None:
    window = window_at("acme", Budget(7, "day", "tokens", soft=True), NOON)
    start, end = stamp("2026-03-02"), stamp("2026-03-03")
    forget_at = end + 32 * 86_400
    assert window == Window("acme/tokens/day/2026-03-02T00:00", 7, start, end, "tokens", True, (), forget_at)
    total = window_at("acme", Budget(7), NOON)
    assert total == Window("acme/total", 7, 0.0, None)
    assert not total.separate, "what is left of it is what is left of the budget"


def test_a_rolling_window_has_twelve_parts_before_its_own() -> None:
    """By hand: a minute in parts of 5 s; 601 s lies in the part 600 to 605, with 540 to 600 before it."""
    window = window_at("acme", Budget(7, "minute", rolling=True), 601.0)
    earlier = tuple(f"acme/rolling/minute/{part}" for part in range(119, 107, -1))
    forget_at = 605.0 + 60 + 32 * 86_400
    assert window == Window("acme/rolling/minute/120", 7, 540.0, 605.0, earlier=earlier, forget_at=forget_at)


@pytest.mark.parametrize(
    ("period", "length_s"),
    [("minute", 60), ("hour", 3_600), ("day", 86_400), ("week", 604_800), ("month", 30 * 86_400)],
)
def test_a_rolling_window_is_as_long_as_its_period(period: Period, length_s: int) -> None:
    window = window_at("acme", Budget(7, period, rolling=True), NOON)
    assert window.ends_at is not None
    assert window.ends_at - window.starts_at == length_s * 13 / 12
    assert window.ends_at - length_s / 12 <= NOON < window.ends_at


def test_a_day_is_the_one_of_its_zone() -> None:
    late = window_at("acme", TOKYO_DAY, stamp("2026-03-02T15:00"))
    assert late.key == "acme/day@Asia/Tokyo/2026-03-03T00:00"
    assert (late.starts_at, late.ends_at) == (stamp("2026-03-02T15:00"), stamp("2026-03-03T15:00"))


def test_a_day_whose_midnight_comes_twice_begins_with_the_first() -> None:
    """In Havana clocks went back from 01:00 to 00:00 on 1 November 2026: the day began at 04:00 UTC."""
    for now in ("2026-11-01T04:30", "2026-11-01T05:30", "2026-11-01T20:00"):
        window = window_at("acme", Budget(5, "day", zone="America/Havana"), stamp(now))
        assert (window.starts_at, window.ends_at) == (stamp("2026-11-01T04:00"), stamp("2026-11-02T05:00"))


def test_a_session_has_a_window_that_ends_with_its_use() -> None:
    window = session_window("acme", "s", 5, 1_000.0)
    assert window == Window("acme/session/s", 5, 0.0, None, forget_at=1_000.0 + 32 * 86_400)
