"""Two routers on the same held-out queries: is the one better than the other, and how sure is that?

Tables are judged each by itself, among the candidates that it shows; the difference is the mean over all held-out
queries. A bootstrap over groups draws the same groups for both, so what both find hard cancels out.
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
    """A part as reports and drawings take it: implements `routers.evaluation.bench.Stage`."""

    name: str
    learned_from: tuple[str, ...]
    singles: tuple[tuple[str, ...], Singles]


@dataclass(frozen=True, slots=True)
class Rules:
    """Who wins.

    Attributes:
        level: how sure it has to be: the share of draws in which the challenger is better by `margin`.
        margin: in nAUC.
        replicates: how many draws, and the seed of them.
    """

    level: float = 0.95
    margin: float = 0.0
    replicates: int = 1000
    seed: int = 20261


@dataclass(frozen=True, slots=True, eq=False)
class RouterComparison:
    """What came of it.

    Attributes:
        arenas, judged: for reports; the rivals' names are those of `between`.
        difference: the challenger's nAUC minus the other's; `low` is its lower bound at the level of the rules.
        sizes: how many queries each arena has.
        cells: how many of their outcomes are known.
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
        """Whether the challenger is better, and that surely enough."""
        return self.low > self.rules.margin

    def figure(self, rival: str, name: str) -> float:
        """The mean of a figure (`nauc`, `qnc`, ...) over the parts, by their queries."""
        found = [getattr(each.judgement, name) for each in self.judged if each.policy == rival]
        return float(np.average(found, weights=self.sizes))


def between(rivals: Mapping[str, Router], parts: Sequence[Part], known: OutcomeTable, rules: Rules) -> RouterComparison:
    """Judge two routers, the challenger last; `known` is what is known of costs. Raises TableError."""
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
    """The candidates of which the table shows anything."""
    return [name for name, cells in zip(table.candidates, table.mask.T, strict=True) if cells.any()]


def _singles(test: OutcomeTable, measure: SharedSweep) -> Singles:
    filled = measure.filled if isinstance(measure, LoggedSweep) else None
    return single_points(test.score, test.cost_usd) if filled is None else filled.singles


def _policies(
    forecasts: Mapping[str, Forecast], sides: tuple[OutcomeTable, OutcomeTable], measure: Measure
) -> Iterator[Policy]:
    """The best single candidate, then the rivals."""
    yield from (policy for policy in baselines(*sides, measure) if policy.name == BEST_SINGLE)
    for name, forecast in forecasts.items():
        yield routed(name, forecast, sides, measure)


def _difference(one: PolicyResult, other: PolicyResult) -> Floats:
    """[1 + replicates] how much nAUC the other has more: on all queries, then in each draw."""
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
    """The share 1 - level of draws lies below it; draws that left nothing to judge count as no difference."""
    return float(np.quantile(np.nan_to_num(differences), 1 - level, method="lower"))
