"""Leases end by the wall clock, but not just after it jumped."""

from __future__ import annotations

from gateway.stores.lease_clock import GRACE_S, LeaseClock
from tests.fakes.clock import HandClock


class Clocks:
    def __init__(self) -> None:
        self.wall, self.steady = HandClock(1_000.0), HandClock(7.0)
        self.leases = LeaseClock(self.wall, self.steady)

    def passes(self, seconds: float) -> None:
        self.wall.turn(seconds)
        self.steady.turn(seconds)


def test_time_that_passes_ends_leases() -> None:
    clocks = Clocks()
    for seconds in (0.0, 0.1, 61.0, 1e6):
        clocks.passes(seconds)
        assert clocks.leases.may_charge()


def test_a_jump_forward_charges_nothing_for_a_lease() -> None:
    clocks = Clocks()
    clocks.leases.made(30.0)
    clocks.leases.made(10.0)
    clocks.wall.turn(7_200.0)
    assert not clocks.leases.may_charge()
    clocks.passes(29.0)
    assert not clocks.leases.may_charge()
    clocks.passes(1.0)
    assert clocks.leases.may_charge()


def test_without_a_lease_of_its_own_a_process_waits_as_long_as_a_usual_one() -> None:
    clocks = Clocks()
    clocks.wall.turn(120.0)
    assert not clocks.leases.may_charge()
    clocks.passes(GRACE_S)
    assert clocks.leases.may_charge()


def test_a_second_jump_begins_the_wait_again() -> None:
    clocks = Clocks()
    clocks.wall.turn(120.0)
    assert not clocks.leases.may_charge()
    clocks.passes(GRACE_S - 1)
    clocks.wall.turn(120.0)
    assert not clocks.leases.may_charge()
    clocks.passes(GRACE_S - 1)
    assert not clocks.leases.may_charge()
    clocks.passes(1.0)
    assert clocks.leases.may_charge()


def test_a_clock_that_drifts_or_is_set_back_has_not_jumped() -> None:
    clocks = Clocks()
    for _ in range(100):
        clocks.passes(10.0)
        clocks.wall.turn(0.5)
        assert clocks.leases.may_charge()
    clocks.wall.turn(-5_000.0)
    assert clocks.leases.may_charge()
    clocks.wall.turn(5_000.0)
    assert not clocks.leases.may_charge()
