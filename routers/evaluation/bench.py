"""The blocks and tasks of `loupe bench`: tables with the views of their queries, their splits, and one fit per task.

A block is a table that is judged on its own. Either the table itself is split (in-domain), or a router learns from
other tables and is judged on this table (cross-dataset). A task is one router on one view and one split of a block.
Tasks do not depend on each other, so they may run in any order and in any process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from routers.base import Floats, Forecast, Views
from routers.evaluation.bootstrap import FIGURES, Resamples, rejudge
from routers.evaluation.judge import Judgement, Policy, baselines, judge, of_candidates, routed
from routers.evaluation.metrics import Frontier, Singles, single_points
from routers.evaluation.protocol import Measure
from routers.registry import ALGORITHMS, Algorithm
from routers.table.outcome_table import Dataset, OutcomeTable, TableError, merge
from routers.table.split import Rows, Split, cross_dataset, grouped_splits

VIEWS = ("both", "text", "image")
NO_VIEW = "none"
"""The view of the baselines, which do not look at queries."""

BASELINE_TASK = "baselines"
CURVE_POINTS = 241


class Stage(Protocol):
    """The facts about a judged table that reports and drawings need.

    These are its name, the tables that routers learned from, and the points of its single candidates.
    """

    @property
    def name(self) -> str: ...
    @property
    def learned_from(self) -> tuple[str, ...]: ...
    @property
    def singles(self) -> tuple[tuple[str, ...], Singles]: ...


@dataclass(frozen=True, slots=True, eq=False)
class BenchBlock:
    """A table to judge on; implements `Stage`.

    Attributes:
        name: the name of the judged table.
        learned_from: the names of the tables that routers learn from; its own name where the table itself is split.
        data: the rows of all these tables.
        splits: one per seed, in row numbers of `data`.
        text_only: whether image views are withheld from the test rows (never from training).
    """

    name: str
    learned_from: tuple[str, ...]
    data: Dataset
    splits: tuple[Split, ...]
    text_only: bool = False

    def sides(self, split: Split) -> tuple[OutcomeTable, OutcomeTable]:
        """Return the training table and the test table, with only the candidates that both have observed."""
        known, test = self.data.table.take(split.train), self.data.table.take(split.test)
        names = _seen_by_all([known, test])
        if not names:
            raise TableError(f"{self.name}: no candidate was observed both in training and in the test rows")
        return known.select(names), test.select(names)

    @property
    def judged_rows(self) -> Rows:
        """The rows that are test rows under at least one seed."""
        return np.unique(np.concatenate([split.test for split in self.splits]))

    @property
    def singles(self) -> tuple[tuple[str, ...], Singles]:
        """The candidates, and each candidate's mean cost and score over the judged rows."""
        _, test = self.sides(self.splits[0])
        whole = self.data.table.take(self.judged_rows).select(test.candidates)
        return test.candidates, single_points(whole.score, whole.cost_usd)


@dataclass(frozen=True, slots=True)
class Task:
    """One fit. Block and split are numbers; `router` is a name of the registry or `BASELINE_TASK`."""

    block: int
    router: str
    view: str
    split: int


@dataclass(frozen=True, slots=True, eq=False)
class PolicyResult:
    """The result of one policy of a task.

    Attributes:
        replicates: [R, figures] the figures under each draw of the bootstrap.
        curve: [CURVE_POINTS] the best score that each cost of the block's grid buys, NaN below the cheapest point.
        fit_s: processor seconds of fitting.
        predict_us: processor microseconds per query when all test rows are forecast at once.
        problem: why there is no judgement; empty where there is one.
    """

    task: Task
    protocol: str
    policy: str
    judgement: Judgement
    replicates: Floats
    curve: Floats
    fit_s: float = float("nan")
    predict_us: float = float("nan")
    problem: str = ""


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """The measures and algorithms of a bench; one fit serves all measures.

    `clock` returns seconds of processor time, so that other programs on the machine do not count.
    """

    measures: tuple[Measure, ...]
    algorithms: Mapping[str, Algorithm] = field(default_factory=lambda: ALGORITHMS)
    replicates: int = 200
    seed: int = 20261
    clock: Callable[[], float] = time.process_time


def within(data: Dataset, train: float, seeds: Sequence[int], *, text_only: bool = False) -> BenchBlock:
    """Return the block of a table that is itself split, by groups."""
    splits = tuple(grouped_splits(data.table.groups, train, seeds))
    return BenchBlock(data.name, (data.name,), data, splits, text_only)


def across(learned: Sequence[Dataset], judged: Dataset, seeds: Sequence[int], *, text_only: bool = False) -> BenchBlock:
    """Return the block in which routers learn from all rows of some tables and are judged on all rows of another.

    The seeds are those of the fits. Only the candidates that both sides observed take part. Training rows whose group
    is judged, and training rows without a cell of these candidates, are left out. Raises TableError where nothing is
    left.
    """
    parts = [*learned, judged]
    whole = merge([part.table for part in parts])
    names = _seen_by_all([merge([part.table for part in learned]), judged.table])
    if len(names) < 2:
        raise TableError(
            f"{judged.name} shares {len(names)} candidates with the tables to learn from; at least two are needed"
        )
    table = whole.select(names)
    place = {query_id: row for row, query_id in enumerate(table.query_ids)}
    test = np.array(sorted(place[query_id] for query_id in judged.table.query_ids), dtype=np.intp)
    try:
        split = cross_dataset(np.flatnonzero(table.mask.any(axis=1)), test, table.groups)
    except ValueError:
        raise TableError(f"{judged.name}: every row to learn from shares a group with the rows to judge on") from None
    data = Dataset(judged.name, table, stacked(parts, table), judged.image_views)
    splits = tuple(replace(split, seed=seed) for seed in seeds)
    return BenchBlock(judged.name, tuple(part.name for part in learned), data, splits, text_only)


def tasks(blocks: Sequence[BenchBlock], routers: Sequence[str], views: Sequence[str]) -> list[Task]:
    """Return all tasks in the order of the report: block, router, view, seed."""
    return [
        Task(number, router, view, split)
        for number, block in enumerate(blocks)
        for router in (BASELINE_TASK, *routers)
        for view in ((NO_VIEW,) if router == BASELINE_TASK else views)
        for split in range(len(block.splits))
    ]


def run_task(block: BenchBlock, task: Task, judging: JudgeSettings) -> list[PolicyResult]:
    """Fit, forecast and judge. Returns one result per policy and measure.

    Where a router fails, its result says why.
    """
    split = block.splits[task.split]
    known, test = block.sides(split)
    resamples = Resamples.draw(_groups(block.data.table, block.judged_rows), judging.replicates, judging.seed)
    weights = resamples.weights(test.groups)
    grid = cost_grid(block)

    def judged(policy: Policy, measure: Measure, seconds: tuple[float, float]) -> PolicyResult:
        return PolicyResult(
            task=task,
            protocol=measure.name,
            policy=policy.name,
            judgement=judge(policy, test, measure),
            replicates=rejudge(policy, test, measure, weights),
            curve=curve(policy.decided.frontier(), grid),
            fit_s=seconds[0],
            predict_us=seconds[1] / len(test) * 1e6,
        )

    if task.router == BASELINE_TASK:
        nothing = (float("nan"), float("nan"))
        return [judged(p, measure, nothing) for measure in judging.measures for p in baselines(known, test, measure)]
    try:
        forecast, seconds = _fit(block, task, (known, test), judging)
        policies = [(routed(task.router, forecast, (known, test), m), m) for m in judging.measures]
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return [_failed(task, f"{type(error).__name__}: {error}", judging, m) for m in judging.measures]
    return [judged(policy, measure, seconds) for policy, measure in policies]


def cost_grid(block: Stage) -> Floats:
    """Return [CURVE_POINTS] costs over the block's range: at equal ratios, or at equal steps if the least cost is 0."""
    low, high = block.singles[1].cost_range
    return np.geomspace(low, high, CURVE_POINTS) if low > 0 else np.linspace(low, high, CURVE_POINTS)


def curve(frontier: Frontier, grid: Floats) -> Floats:
    """Return the best score bought at or below each cost of an ascending grid; NaN where no point is that cheap."""
    order = np.argsort(frontier.costs, kind="stable")
    levels = np.maximum.accumulate(frontier.scores[order])
    place = np.searchsorted(frontier.costs[order], grid * (1 + 1e-12), side="right") - 1
    return np.where(place >= 0, levels[np.maximum(place, 0)], np.nan)


def restricted(data: Views, image_views: frozenset[str], view: str) -> dict[str, np.ndarray]:
    """Return the views with the withheld views set to zero, which is how an absent view looks."""
    return {
        name: rows if view == "both" or (view == "image") == (name in image_views) else np.zeros_like(rows)
        for name, rows in data.items()
    }


def _fit(
    block: BenchBlock, task: Task, sides: tuple[OutcomeTable, OutcomeTable], judging: JudgeSettings
) -> tuple[Forecast, tuple[float, float]]:
    """Return the forecast of the test rows, and the seconds that fitting and forecasting took."""
    known, test = sides
    split, data, algorithm = block.splits[task.split], block.data, judging.algorithms[task.router]
    seen = restricted({name: rows[split.train] for name, rows in data.views.items()}, data.image_views, task.view)
    asked = restricted({name: rows[split.test] for name, rows in data.views.items()}, data.image_views, task.view)
    if block.text_only:
        asked = restricted(asked, data.image_views, "text")
    started = judging.clock()
    router = algorithm.fit(known, seen, seed=split.seed)
    fitted = judging.clock()
    forecast = router.forecast(asked)
    done = judging.clock()
    columns = np.array([router.candidates.index(name) for name in test.candidates], dtype=np.intp)
    return of_candidates(forecast, columns), (fitted - started, done - fitted)


def _failed(task: Task, problem: str, judging: JudgeSettings, measure: Measure) -> PolicyResult:
    nothing = float("nan")
    return PolicyResult(
        task=task,
        protocol=measure.name,
        policy=task.router,
        judgement=Judgement(nothing, nothing, nothing, nothing),
        replicates=np.full((judging.replicates, len(FIGURES)), np.nan),
        curve=np.full(CURVE_POINTS, np.nan),
        problem=problem,
    )


def _seen_by_all(tables: Sequence[OutcomeTable]) -> list[str]:
    """Return the candidates that every table observed, in the order of the last table."""
    seen = [{name for column, name in enumerate(table.candidates) if table.mask[:, column].any()} for table in tables]
    return [name for name in tables[-1].candidates if all(name in names for names in seen)]


def _groups(table: OutcomeTable, rows: Rows) -> list[str]:
    return [table.groups[row] for row in rows]


def stacked(parts: Sequence[Dataset], table: OutcomeTable) -> Mapping[str, np.ndarray]:
    """Return the views of a merged table's queries. Raises TableError where the parts have different views."""
    place = {query_id: row for row, query_id in enumerate(table.query_ids)}
    stacked: dict[str, np.ndarray] = {}
    for part in parts:
        if _shapes(part) != _shapes(parts[0]):
            raise TableError(f"{part.name} and {parts[0].name} have different views")
        rows = [place[query_id] for query_id in part.table.query_ids]
        for name, values in part.views.items():
            stacked.setdefault(name, np.zeros((len(table), values.shape[1]), dtype=np.float32))[rows] = values
    return stacked


def _shapes(part: Dataset) -> list[tuple[str, int]]:
    return sorted((name, values.shape[1]) for name, values in part.views.items())
