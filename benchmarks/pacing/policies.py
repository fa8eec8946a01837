"""The policies that the pacing benchmark compares, and the simulated ledger that holds all of them to the budget.

Every policy ranks the candidates by the gateway's own decision rule. As in the pipeline, a choice's ceiling is reserved
before it is sent, the charge is settled when the reply ends, and the next choice is tried where a reservation does not
fit.
"""

from __future__ import annotations

import heapq
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.pacing.world import DAY, FIRST_TOKEN_S, NANO, QUERY, TOKENS_PER_S, World
from gateway.billing.price import cost
from gateway.routing.catalog import Catalog
from gateway.routing.circuit_breaker import always_well
from gateway.routing.decision import Assessment, Decision, Preference, decide
from gateway.routing.pacing.cost_curve import options_of
from gateway.routing.pacing.pacer import Pacer
from gateway.routing.pacing.settings import PacingSettings, WindowPosition

MOST_CHOICES = 3
SAMPLES = 400
"""The number of points of a drawn curve."""


@dataclass(slots=True)
class Ledger:
    """A ledger that reserves ceilings and settles charges; `violations` counts settlements that end over the limit."""

    limit: int
    spent: int = 0
    held: int = 0
    violations: int = 0

    def reserve(self, max_cost: int) -> bool:
        if self.spent + self.held + max_cost > self.limit:
            return False
        self.held += max_cost
        return True

    def settle(self, max_cost: int, charge: int) -> None:
        self.held -= max_cost
        self.spent += charge
        self.violations += self.spent + self.held > self.limit

    def change(self, limit: int) -> None:
        """Change the limit, to no less than the money spent and reserved, because a budget cut is not an overspend."""
        self.limit = max(limit, self.spent + self.held)


@dataclass(frozen=True, slots=True)
class Ended:
    """A request that ended: its expected cost, its charge, and whether a reservation failed."""

    expected: int
    charge: int
    is_refused: bool


class Policy(ABC):
    """A policy that ranks the candidates of each request, and is told how the request ended."""

    def __init__(self) -> None:
        self.solve_us: list[float] = []

    @abstractmethod
    def rank(self, number: int, now: float, row: int, ledger: Ledger, /) -> Sequence[Assessment]:
        """Return the choices for the request with this number, best first."""

    def ended(self, _number: int, _ended: Ended, /) -> None:
        return

    def point(self, day: float, spent_usd: float) -> Point:
        """Return the point that is drawn."""
        return Point(day, spent_usd, 0.0, None)


class Point(NamedTuple):
    """The state of a policy at one time; `plan_usd` is the planned spend until then, None without a plan."""

    day: float
    spent_usd: float
    price_weight: float
    plan_usd: float | None


@dataclass(slots=True)
class Played:
    """The results of a policy. `score` is the mean over all requests; a refused request scores 0."""

    spent: int
    limit: int
    score: float
    refused: int
    violations: int
    curve: list[Point] = field(default_factory=list)
    solve_us: list[float] = field(default_factory=list)
    """The processor time of each solve, in microseconds."""


def run(world: World, policy: Policy) -> Played:
    """Play the whole stream of requests through a policy and the ledger."""
    ledger = Ledger(world.budget)
    under_way: list[tuple[float, int, int, int, Ended]] = []
    scored, refused = 0.0, 0
    curve: list[Point] = []
    column_of = {name: column for column, name in enumerate(world.taught.names)}
    score = world.taught.score.tolist()
    tokens = world.taught.tokens.tolist()
    every = max(len(world.times) // SAMPLES, 1)
    for number, (now, row) in enumerate(zip(world.times, world.rows, strict=True)):
        while under_way and under_way[0][0] <= now:
            _settle(ledger, policy, heapq.heappop(under_way))
        if world.limit_at(now) != world.budget:
            ledger.change(world.limit_at(now))
        ranked = policy.rank(number, now, row, ledger)
        is_refused = False
        for choice in ranked[:MOST_CHOICES]:
            if ledger.reserve(choice.max_cost):
                column = column_of[choice.candidate.name]
                charge = world.charge(now, row, column)
                ended = Ended(choice.expected_cost, charge, is_refused)
                until = now + FIRST_TOKEN_S + tokens[row][column] / TOKENS_PER_S
                heapq.heappush(under_way, (until, number, choice.max_cost, charge, ended))
                scored += score[row][column]
                break
            is_refused = True
        else:
            refused += 1
            policy.ended(number, Ended(0, 0, True))
        if number % every == 0:
            curve.append(policy.point((now - world.scenario.starts_at) / DAY, ledger.spent / NANO))
    for entry in sorted(under_way):
        _settle(ledger, policy, entry)
    curve.append(policy.point(world.scenario.days, ledger.spent / NANO))
    return Played(
        ledger.spent, ledger.limit, scored / len(world.times), refused, ledger.violations, curve, policy.solve_us
    )


def _settle(ledger: Ledger, policy: Policy, entry: tuple[float, int, int, int, Ended]) -> None:
    _, number, max_cost, charge, ended = entry
    if charge > max_cost:
        raise ValueError(f"request {number} was charged {charge}, over its maximum cost of {max_cost}")
    ledger.settle(max_cost, charge)
    policy.ended(number, ended)


class Fixed(Policy):
    """A policy with one fixed rate of quality for money; `rate` is quality per nanodollar; 0 is greedy."""

    def __init__(self, world: World, rate: float) -> None:
        super().__init__()
        self._world, self.rate = world, rate
        self._catalogs = (world.catalog(False), world.catalog(True))
        self._known: dict[tuple[bool, int], tuple[Assessment, ...]] = {}

    def rank(self, _number: int, now: float, row: int, _ledger: Ledger, /) -> Sequence[Assessment]:
        key = (now >= self._world.price_at, row)
        if key not in self._known:
            catalog = self._catalogs[key[0]]
            self._known[key] = decision(self._world, catalog, row, self.rate * catalog.reference_cost).choices
        return self._known[key]


class Threshold(Policy):
    """A policy that takes the best candidate until 80% of the budget is spent, then the best of the cheap candidates.

    Cheap candidates cost at most a fifth of the best candidate's cost.
    """

    def __init__(self, world: World, at: float = 0.8) -> None:
        super().__init__()
        self._at = at
        self._best, self._rest = _tiers(world)
        self._fixed = Fixed(world, 0.0)
        self._names = world.taught.names

    def rank(self, number: int, now: float, row: int, ledger: Ledger, /) -> Sequence[Assessment]:
        order = self._best if ledger.spent < self._at * ledger.limit else self._rest
        rows = {choice.candidate.name: choice for choice in self._fixed.rank(number, now, row, ledger)}
        return [rows[self._names[column]] for column in order]


class Paced(Policy):
    """The gateway's pacer, used as the pipeline uses it: one pacer per process, and processes take requests in turn."""

    def __init__(self, world: World, settings: PacingSettings | None = None) -> None:
        super().__init__()
        self._world = world
        self._settings = settings or PacingSettings()
        self._catalogs = (world.catalog(False), world.catalog(True))
        self._is_new = False
        self._was_down = False
        self._pacers = [self._new_pacer() for _ in range(world.scenario.processes)]

    def rank(self, number: int, now: float, row: int, ledger: Ledger, /) -> Sequence[Assessment]:
        world, scenario = self._world, self._world.scenario
        if not self._is_new and now >= world.price_at:
            self._change_prices()
        if scenario.outage is not None and not self._was_down and now >= scenario.starts_at + scenario.outage[1] * DAY:
            self._restart()
        pacer = self._pacers[number % len(self._pacers)]
        if pacer.is_due(now):
            stretch = (scenario.starts_at, scenario.ends_at)
            began = time.thread_time()
            pacer.solve(now, [WindowPosition("tenant/run", ledger.limit, ledger.spent, ledger.held, *stretch)])
            self.solve_us.append((time.thread_time() - began) * 1e6)
        decided = decision(world, self._catalogs[self._is_new], row, pacer.price_weight)
        pacer.decided(now, options_of(decided))
        return decided.choices

    def ended(self, number: int, ended: Ended, /) -> None:
        pacer = self._pacers[number % len(self._pacers)]
        pacer.finished(ended.expected, ended.charge, is_refused=ended.is_refused)

    def point(self, day: float, spent_usd: float) -> Point:
        pace = self._pacers[0].tightest
        plan = pace.plan_to_date if pace is not None else None
        return Point(day, spent_usd, self._pacers[0].price_weight, plan / NANO if plan is not None else None)

    def _new_pacer(self) -> Pacer:
        return Pacer(self._settings, self._catalogs[self._is_new].reference_cost)

    def _change_prices(self) -> None:
        self._is_new = True
        catalog = self._catalogs[True]

        def price(name: str, input_tokens: int, output_tokens: int) -> int | None:
            candidate = catalog.get(name)
            return None if candidate is None else cost(candidate.price, input_tokens, output_tokens)

        for pacer in self._pacers:
            pacer.reprice(price, catalog.reference_cost)

    def _restart(self) -> None:
        self._was_down = True
        states = [json.loads(json.dumps(pacer.state())) for pacer in self._pacers]
        self._pacers = [self._new_pacer() for _ in states]
        for pacer, state in zip(self._pacers, states, strict=True):
            pacer.restore(state)


def decision(world: World, catalog: Catalog, row: int, price_weight: float) -> Decision:
    """Return the gateway's own decision on a row."""
    return decide(
        QUERY,
        tuple(catalog),
        world.forecasts[row],
        Preference(price_weight),
        reference_cost=catalog.reference_cost,
        is_healthy=always_well,
    )


def _tiers(world: World) -> tuple[list[int], list[int]]:
    """Return two tiers of columns; the second tier is the cheap candidates, the best first.

    The first tier is the best candidate, then the cheap candidates, for requests whose reservation does not fit.
    """
    taught = world.taught
    best = taught.best
    cheap = [c for c in range(len(taught.names)) if taught.known_costs[c] <= taught.known_costs[best] / 5]
    cheap = cheap or [int(taught.known_costs.argmin())]
    ranked = sorted(cheap, key=lambda column: -taught.known_scores[column])
    return [best, *ranked], ranked
