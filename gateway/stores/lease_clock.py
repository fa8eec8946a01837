"""The clock by which leases end: the wall clock, except for a while after it jumped forward."""

from __future__ import annotations

import time
from collections.abc import Callable

JUMP_S = 1.0
"""Seconds by which the wall clock may run ahead between two looks: more is a jump, not drift."""
GRACE_S = 60.0


class LeaseClock:
    """Says whether the leases that the wall clock calls ended may be charged.

    A wall clock jumps when NTP or a person sets it, and when a suspended machine resumes: CLOCK_MONOTONIC does not
    count a suspension (https://man7.org/linux/man-pages/man3/clock_gettime.3.html). All leases then look ended, though
    their processes live. So after a jump nothing is charged for as long as a lease lasts: each living process renews
    its reservations within a third of that.

    `clock` gives seconds since the epoch, `monotonic` seconds that no one sets.
    """

    def __init__(self, clock: Callable[[], float], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._offset = clock() - monotonic()
        self._grace_s = 0.0
        self._charges_from = monotonic()

    def made(self, ttl_s: float) -> None:
        """Note the lease of a reservation of this process: the longest is how long others may take to renew theirs."""
        if ttl_s > self._grace_s:
            self._grace_s = ttl_s

    def may_charge(self) -> bool:
        """Return False for a while after the wall clock has jumped forward."""
        steady = self._monotonic()
        offset = self._clock() - steady
        if offset - self._offset > JUMP_S:
            self._charges_from = steady + (self._grace_s or GRACE_S)
        self._offset = offset
        return steady >= self._charges_from
