"""The simulated tenant of the pacing benchmark: a stream of requests over an outcome table, and their costs.

Queries are rows of a real outcome table that the router did not learn from, drawn with replacement. Forecasts are those
of the trained router, outcomes those of the table. Arrivals are a Poisson stream with days and weekends; during the
run, the traffic doubles and a price changes. Prices are fitted to the table's costs (input and output).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from gateway.billing.image_tokens import flat
from gateway.billing.price import Price
from gateway.routing.catalog import Candidate, Catalog
from gateway.routing.decision import CandidateForecast
from gateway.routing.query import Query, QueryImage
from routers.base import Floats
from routers.registry import ALGORITHMS
from routers.table.outcome_table import Dataset
from routers.table.split import grouped_splits

HOUR, DAY = 3_600.0, 86_400.0
NANO = 1e9
MONDAY = 1_767_571_200.0  # 2026-01-05 00:00 UTC
INPUT_TOKENS = 1_000
QUERY = Query("", prompt_bytes=400, messages=1, images=(QueryImage(384, 384, "auto", b""),), max_output_tokens=4_096)
TEXT_TOKENS = 104  # the tokens that the decision expects for QUERY's text
TOKENS_PER_S, FIRST_TOKEN_S = 60.0, 1.0

Intensity = Callable[[Floats], Floats]
"""Seconds since the start -> relative traffic, 0 or more."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """The events of a run. Times are in days since the start.

    Attributes:
        step_at, step: from `step_at` on, traffic is multiplied by `step`.
        price_at, price_factor: from `price_at` on, the best single candidate's price is multiplied by `price_factor`.
        is_price_told: whether the price list shows the new price too.
        budget_share: the budget, as a share of the cost of the best single candidate.
        budget_at, budget_factor: from `budget_at` on, the budget is multiplied by `budget_factor`.
        forecast_bias: the factor by which forecast tokens differ from the router's.
        bursts: whether ten minutes of every six hours have 20 times the traffic.
        outage: start and end of a time in which nothing is served, and after which the process is restarted.
        processes: the number of gateways that share the budget, each with its own pacer.
    """

    name: str = "step and price change"
    requests: int = 100_000
    days: float = 10.0
    step_at: float = 5.0
    step: float = 2.0
    price_at: float = 7.0
    price_factor: float = 1.5
    is_price_told: bool = True
    budget_share: float = 0.4
    budget_at: float | None = None
    budget_factor: float = 1.0
    forecast_bias: float = 1.0
    bursts: bool = False
    outage: tuple[float, float] | None = None
    processes: int = 1

    @property
    def starts_at(self) -> float:
        return MONDAY

    @property
    def ends_at(self) -> float:
        return MONDAY + self.days * DAY

    def intensity(self, seconds: Floats) -> Floats:
        """Return relative traffic: a third of the mean at night, half at weekends, and the scenario's events."""
        day = seconds / DAY
        traffic = 1 - 0.7 * np.cos(2 * np.pi * (day - 1 / 6))
        traffic = traffic * np.where(np.isin(day.astype(int) % 7, (5, 6)), 0.5, 1.0)
        traffic = traffic * np.where(day >= self.step_at, self.step, 1.0)
        if self.bursts:
            traffic = traffic * np.where((seconds + 2 * HOUR) % (6 * HOUR) < 600, 20.0, 1.0)
        if self.outage is not None:
            traffic = np.where((day >= self.outage[0]) & (day < self.outage[1]), 0.0, traffic)
        return traffic


@dataclass(frozen=True, eq=False)
class Taught:
    """A table's held-out rows with a router's forecasts; arrays are [n, K], costs and prices in nanodollars.

    `known_scores` and `known_costs`, [K], are the means of the training rows, which an operator knows.
    """

    name: str
    names: tuple[str, ...]
    quality: Floats
    forecast_tokens: Floats
    high_tokens: Floats
    score: Floats
    tokens: Floats
    cost: Floats
    prices: tuple[Price, ...]
    known_scores: Floats
    known_costs: Floats

    @property
    def best(self) -> int:
        """The column of the best single candidate in the training rows."""
        return int(np.argmax(self.known_scores))

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        count = flat(INPUT_TOKENS - TEXT_TOKENS)
        return tuple(
            Candidate(name, "simulated", name, price, image_tokens=count, forecast_as=name)
            for name, price in zip(self.names, self.prices, strict=True)
        )


def teach(data: Dataset, seed: int, algorithm: str, train: float = 0.2) -> Taught:
    """Fit a router on a share of the groups and forecast the rest."""
    split = next(grouped_splits(data.table.groups, train, [seed]))
    known, test = data.table.take(split.train), data.table.take(split.test)
    router = ALGORITHMS[algorithm].fit(known, {name: rows[split.train] for name, rows in data.views.items()}, seed=seed)
    forecast = router.forecast({name: rows[split.test] for name, rows in data.views.items()})
    return Taught(
        name=data.name,
        names=known.candidates,
        quality=forecast.quality,
        forecast_tokens=forecast.output_tokens,
        high_tokens=forecast.output_tokens_high,
        score=test.score,
        tokens=test.output_tokens,
        cost=np.ceil(test.cost_usd * NANO),
        prices=_prices(known.output_tokens, known.cost_usd),
        known_scores=known.score.mean(axis=0),
        known_costs=known.cost_usd.mean(axis=0) * NANO,
    )


def _prices(tokens: Floats, cost: Floats) -> tuple[Price, ...]:
    """Return list prices that explain the costs: cost = input + tokens * output price, by least squares."""
    found = []
    for column in range(tokens.shape[1]):
        design = np.column_stack([np.ones(len(tokens)), tokens[:, column]])
        (fixed, each), *_ = np.linalg.lstsq(design, cost[:, column], rcond=None)
        found.append(Price(round(fixed / INPUT_TOKENS * 1e6 * NANO), round(each * 1e6 * NANO)))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class World:
    """A scenario on a table: the arrival time and the row of each request. Times are seconds since the epoch."""

    scenario: Scenario
    taught: Taught
    times: list[float]
    rows: list[int]
    budget: int
    whole_cost: float

    @property
    def price_at(self) -> float:
        return self.scenario.starts_at + self.scenario.price_at * DAY

    def limit_at(self, now: float) -> int:
        """Return the budget in force at a time, in nanodollars."""
        scenario = self.scenario
        if scenario.budget_at is None or now < scenario.starts_at + scenario.budget_at * DAY:
            return self.budget
        return round(self.budget * scenario.budget_factor)

    def catalog(self, is_new: bool) -> Catalog:
        """Return the catalog by the price list, before or after the price change."""
        candidates = list(self.taught.candidates)
        if is_new and self.scenario.is_price_told:
            best = candidates[self.taught.best]
            candidates[self.taught.best] = replace(best, price=_times(best.price, self.scenario.price_factor))
        return Catalog(tuple(candidates))

    def charge(self, now: float, row: int, column: int) -> int:
        """Return the real cost of a reply, in nanodollars."""
        cost = float(self.taught.cost[row, column])
        is_dearer = column == self.taught.best and now >= self.price_at
        return round(cost * self.scenario.price_factor) if is_dearer else round(cost)

    @cached_property
    def forecasts(self) -> list[dict[str, CandidateForecast]]:
        """The router's forecasts for each row, by candidate."""
        bias, taught = self.scenario.forecast_bias, self.taught
        columns = (taught.quality, taught.forecast_tokens * bias, taught.high_tokens * bias)
        return [
            {
                name: CandidateForecast(quality, 0.1, mean, high)
                for name, quality, mean, high in zip(taught.names, *cells, strict=True)
            }
            for cells in zip(*(column.tolist() for column in columns), strict=True)
        ]


def play(scenario: Scenario, taught: Taught, seed: int) -> World:
    """Draw the stream of requests. The same seed gives the same stream."""
    random = np.random.default_rng([20_261, seed])
    minutes = np.arange(0.0, scenario.days * DAY, 60.0)
    weights = np.cumsum(scenario.intensity(minutes))
    drawn = np.searchsorted(weights, random.random(scenario.requests) * weights[-1], side="right")
    times = np.sort(scenario.starts_at + minutes[drawn] + random.random(scenario.requests) * 60.0)
    rows = random.integers(len(taught.score), size=scenario.requests)
    cost = taught.cost[rows, taught.best]
    cost = np.where(times >= scenario.starts_at + scenario.price_at * DAY, cost * scenario.price_factor, cost)
    whole = float(cost.sum())
    return World(scenario, taught, times.tolist(), rows.tolist(), round(whole * scenario.budget_share), whole)


def _times(price: Price, factor: float) -> Price:
    return Price(round(price.input_per_million * factor), round(price.output_per_million * factor))
