"""A small tenant whose spend is paced: a closed loop of pacer, choices and ledger, in a few milliseconds a day."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from gateway.routing.pacing.cost_curve import Option
from gateway.routing.pacing.pacer import Pacer
from gateway.routing.pacing.settings import PacingSettings, PacingStatus, WindowPosition

HOUR, DAY = 3_600.0, 86_400.0
START = 20_000 * DAY
REFERENCE = 1_000_000
"""Nanodollars: what lambda weighs costs in."""

COSTS = {"dear": 1_000_000, "middle": 300_000, "cheap": 20_000}


@dataclass
class Tenant:
    """Requests that three candidates could serve. `rate` is requests an hour at a time since the start."""

    limit: int
    length: float = DAY
    settings: PacingSettings = field(default_factory=PacingSettings)
    rate: Callable[[float], float] = lambda _: 120.0
    bias: float = 1.0
    spent: int = 0
    refused: int = 0
    quality: float = 0.0
    requests: int = 0
    prices: dict[str, float] = field(default_factory=lambda: dict.fromkeys(COSTS, 1.0))

    def __post_init__(self) -> None:
        self.pacer = Pacer(self.settings, REFERENCE)
        self.random = Random(7)
        self.now = START

    def standing(self) -> WindowPosition:
        start = START + (self.now - START) // self.length * self.length
        return WindowPosition("acme/run", self.limit, self.spent, 0, start, start + self.length)

    def options(self) -> list[Option]:
        hard = self.random.random()
        quality = {"dear": 0.9 - 0.1 * hard, "middle": 0.85 - 0.4 * hard, "cheap": 0.8 - 0.7 * hard}
        size = 0.5 + self.random.random()
        return [
            Option(name, quality[name], round(COSTS[name] * size * price), round(100 * size), 0)
            for name, price in self.prices.items()
        ]

    def serve(self, until: float) -> Iterator[PacingStatus]:
        """Requests until so long after the start, Poisson; the pace of each solve with a window to pace."""
        while True:
            self.now += self.random.expovariate(max(self.rate(self.now - START), 1e-9)) * HOUR
            if self.now >= START + until:
                self.now = START + until
                return
            if self.pacer.is_due(self.now):
                yield from self.pacer.solve(self.now, [self.standing()])
            self.request()

    def request(self) -> None:
        options = self.options()
        price_weight = self.pacer.price_weight
        best = min(options, key=lambda o: (-(o.quality - price_weight * o.cost / REFERENCE), o.cost))
        self.pacer.decided(self.now, options)
        charge = round(best.cost * self.bias)
        self.requests += 1
        if self.spent + charge > self.limit:
            self.refused += 1
            self.pacer.finished(0, 0, is_refused=True)
            return
        self.spent += charge
        self.quality += best.quality
        self.pacer.finished(best.cost, charge)

    def run(self, until: float) -> list[PacingStatus]:
        return list(self.serve(until))
