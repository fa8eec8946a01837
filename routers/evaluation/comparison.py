"""A comparison of two routers on the same held-out queries: whether one is better, and with what confidence.

Each table is judged on its own, among the candidates that it shows; the difference is the mean over all held-out
queries. A bootstrap over groups draws the same groups for both routers, so queries that both find hard cancel out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from routers.algorithms.cold_start import widened
from routers.base import Floats, Forecast, Router, Views
from routers.evaluation.bench import NO_VIEW, PolicyResult, Task, cost_grid, curve
from routers.evaluation.bootstrap import Resamples, rejudge
from routers.evaluation.judge import Policy, baselines, judge, of_candidates, routed
from routers.evaluation.logged import LoggedSweep, measure_for
from routers.evaluation.metrics import Singles, single_points
from routers.evaluation.protocol import Measure, SharedSweep
from routers.table.outcome_table import OutcomeTable, TableError
from routers.table.summary import column_means

BEST_SINGLE = "best_single"
_LEAST_CANDIDATES = 2


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A table's held-out queries and their views."""

    name: str
    test: OutcomeTable
    views: Views


@dataclass(frozen=True, slots=True, eq=False)
class TestSet:
    """A part in the form that reports and drawings need; implements `routers.evaluation.bench.Stage`."""

    name: str
    learned_from: tuple[str, ...]
    singles: tuple[tuple[str, ...], Singles]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules by which a challenger wins.

    Attributes:
        level: the required confidence: the share of draws in which the challenger is better by `margin`.
        margin: the required difference in nAUC.
        replicates: the number of draws.
        seed: the seed of the draws.
    """

    level: float = 0.95
    margin: float = 0.0
    replicates: int = 1000
    seed: int = 20261


@dataclass(frozen=True, slots=True, eq=False)
class RouterComparison:
    """The result of comparing two routers.

    Attributes:
        arenas, judged: the test sets and the results of policies, for reports; the routers' names are those that
            `between` was given.
        difference: the challenger's nAUC minus the other router's.
        low: the lower bound of `difference` at the level of the rules.
        sizes: the number of queries of each test set.
        cells: the number of observed outcomes in all test sets.
    """

    arenas: tuple[TestSet, ...]
    judged: tuple[PolicyResult, ...]
    difference: float
    low: float
    sizes: tuple[int, ...]
    cells: int
    rules: Rules = field(default_factory=Rules)

    @property
    def is_better(self) -> bool:
        """Return whether the challenger is better with the required confidence."""
        return self.low > self.rules.margin

    def figure(self, rival: str, name: str) -> float:
        """Return the mean of a router's figure (`nauc`, `qnc`, ...) over the parts, weighted by their queries."""
        found = [getattr(each.judgement, name) for each in self.judged if each.policy == rival]
        return float(np.average(found, weights=self.sizes))


def between(rivals: Mapping[str, Router], parts: Sequence[Part], known: OutcomeTable, rules: Rules) -> RouterComparison:
    """Judge two routers, the challenger last. `known` is the table that costs are learned from.

    Raises TableError where no part shows two candidates, or a router cannot forecast a candidate.
    """
    prices = dict(zip(known.candidates, column_means(known.cost_usd).tolist(), strict=True))
    arenas: list[TestSet] = []
    judged: list[PolicyResult] = []
    differences: list[Floats] = []
    usable = [part for part in parts if part.test.mask.any(axis=0).sum() >= _LEAST_CANDIDATES]
    if not usable:
        raise TableError("no held-out query shows more than one candidate: there is nothing to choose between")
    draws = Resamples.draw([group for part in usable for group in part.test.groups], rules.replicates, rules.seed)
    widest = {name: widened(router, prices) for name, router in rivals.items()}
    for place, part in enumerate(usable):
        test = part.test.select(_shown(part.test))
        sides = known.select(test.candidates), test
        forecasts = {name: _forecast(router, part.views, test.candidates) for name, router in widest.items()}
        measure = measure_for(test, np.mean([forecast.quality for forecast in forecasts.values()], axis=0))
        arena = TestSet(part.name, ("held out",), (test.candidates, _singles(test, measure)))
        for policy in _policies(forecasts, sides, measure):
            judged.append(_judged(place, policy, (arena, test, measure), draws))
        arenas.append(arena)
        differences.append(_difference(*judged[-2:]))
    sizes = tuple(len(part.test) for part in usable)
    whole = np.average(np.stack(differences), axis=0, weights=sizes)
    return RouterComparison(
        arenas=tuple(arenas),
        judged=tuple(judged),
        difference=float(whole[0]),
        low=_lower_bound(whole[1:], rules.level),
        sizes=sizes,
        cells=int(sum(part.test.mask.sum() for part in usable)),
        rules=rules,
    )


def _shown(table: OutcomeTable) -> list[str]:
    """Return the candidates that have at least one observed outcome in the table."""
    return [name for name, cells in zip(table.candidates, table.mask.T, strict=True) if cells.any()]


def _singles(test: OutcomeTable, measure: SharedSweep) -> Singles:
    filled = measure.filled if isinstance(measure, LoggedSweep) else None
    return single_points(test.score, test.cost_usd) if filled is None else filled.singles


def _policies(
    forecasts: Mapping[str, Forecast], sides: tuple[OutcomeTable, OutcomeTable], measure: Measure
) -> Iterator[Policy]:
    """Yield the policy of the best single candidate, then those of the routers."""
    yield from (policy for policy in baselines(*sides, measure) if policy.name == BEST_SINGLE)
    for name, forecast in forecasts.items():
        yield routed(name, forecast, sides, measure)


def _difference(one: PolicyResult, other: PolicyResult) -> Floats:
    """Return [1 + replicates] the other's nAUC minus the one's: on all queries, then in each draw."""
    drawn = other.replicates[:, 0] - one.replicates[:, 0]
    return np.concatenate([[other.judgement.nauc - one.judgement.nauc], drawn])


def _judged(place: int, policy: Policy, where: tuple[TestSet, OutcomeTable, Measure], draws: Resamples) -> PolicyResult:
    arena, test, measure = where
    return PolicyResult(
        task=Task(place, policy.name, NO_VIEW if policy.name == BEST_SINGLE else "both", 0),
        protocol=measure.name,
        policy=policy.name,
        judgement=judge(policy, test, measure),
        replicates=rejudge(policy, test, measure, draws.weights(test.groups)),
        curve=curve(policy.decided.frontier(), cost_grid(arena)),
    )


def _forecast(router: Router, views: Views, names: Sequence[str]) -> Forecast:
    missing = [name for name in names if name not in router.candidates]
    if missing:
        raise TableError(f"a router knows neither {missing[0]!r} nor any candidate to guess it by")
    columns = np.array([router.candidates.index(name) for name in names], dtype=np.intp)
    return of_candidates(router.forecast(views), columns)


def _lower_bound(differences: Floats, level: float) -> float:
    """Return the difference that a share 1 - level of the draws lies below.

    Draws that left nothing to judge count as a difference of 0.
    """
    return float(np.quantile(np.nan_to_num(differences), 1 - level, method="lower"))
