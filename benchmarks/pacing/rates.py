"""Fixed rates of quality for money, with which the pacing benchmark compares: tuned on a first day, or in hindsight."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from benchmarks.pacing.policies import decision
from benchmarks.pacing.world import World
from gateway.routing.pacing.cost_curve import CostCurve, Option, envelope, options_of

LEAST_RATE, MOST_RATE = 1e-14, 1e-2
"""Rates in quality per nanodollar, below and above all differences between candidates."""


@dataclass(frozen=True, slots=True)
class Envelopes:
    """The cost envelopes of a stream's requests, with equal requests counted together.

    Attributes:
        counts: (after the price change, row) -> the number of requests.
        hulls: (after the price change, row) -> the envelope.
    """

    counts: Counter[tuple[bool, int]]
    hulls: dict[tuple[bool, int], list[Option]]

    @classmethod
    def of(cls, world: World, until: float = inf) -> Envelopes:
        """Return the envelopes of the requests before `until`, in seconds since the epoch."""
        stream = zip(world.times, world.rows, strict=True)
        counts = Counter((now >= world.price_at, row) for now, row in stream if now < until)
        catalogs = (world.catalog(False), world.catalog(True))
        hulls = {key: envelope(options_of(decision(world, catalogs[key[0]], key[1], 0.0))) for key in counts}
        return cls(counts, hulls)

    def tuned(self, money: float) -> float:
        """Return the rate (quality per nanodollar) at which all requests together are expected to cost `money`."""
        drops: list[tuple[float, int]] = []
        for key, count in self.counts.items():
            for dear, cheap in pairwise(self.hulls[key]):
                saved = dear.cost - cheap.cost
                drops.append(((dear.quality - cheap.quality) / saved, saved * count))
        first = sum(self.hulls[key][0].cost * count for key, count in self.counts.items())
        return CostCurve(drops, first, self.counts.total()).solve(money / self.counts.total())

    def hindsight(self, world: World, money: float) -> float:
        """Return the one rate that really spends `money`, or slightly less; it is known only afterwards."""
        if self._charged(world, 0.0) <= money:
            return 0.0
        low, high = LEAST_RATE, MOST_RATE
        while high / low > 1 + 1e-6:
            middle = (low * high) ** 0.5
            low, high = (middle, high) if self._charged(world, middle) > money else (low, middle)
        return high

    def _charged(self, world: World, rate: float) -> float:
        total = 0.0
        for (is_new, row), count in self.counts.items():
            best = max(self.hulls[is_new, row], key=lambda option: option.quality - rate * option.cost)
            column = world.taught.names.index(best.candidate)
            total += count * world.charge(world.price_at if is_new else 0.0, row, column)
        return total
