"""Blocks and tasks: who learns from what, what is withheld, and what a failing router leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from routers.base import Forecast
from routers.evaluation.bench import (
    BASELINE_TASK,
    CURVE_POINTS,
    BenchBlock,
    JudgeSettings,
    Task,
    across,
    cost_grid,
    curve,
    run_task,
    tasks,
    within,
)
from routers.evaluation.judge import BASELINES
from routers.evaluation.metrics import Frontier
from routers.evaluation.paper_protocol import Paper
from routers.evaluation.protocol import SharedSweep
from routers.registry import ALGORITHMS
from routers.table.outcome_table import Dataset, OutcomeTable, TableError
from routers.train import Plan, evaluate
from tests.fakes.synthetic import Drawn, drawn_table

JUDGING = JudgeSettings((SharedSweep(),), replicates=5)
IMAGES = frozenset({"image", "image_features"})


@dataclass(frozen=True, slots=True)
class Part:
    """A data set of its own names."""

    name: str
    groups: int = 20
    candidates: int = 4
    missing: float = 0.0
    seed: int = 0

    def drawn(self) -> Dataset:
        table, views = drawn_table(self.groups, self.candidates, missing=self.missing, seed=self.seed)
        table = replace(
            table,
            query_ids=tuple(f"{self.name}-{query_id}" for query_id in table.query_ids),
            groups=tuple(f"{self.name}-{group}" for group in table.groups),
        )
        return Dataset(self.name, table, views, IMAGES)


def test_tasks_are_told_in_the_order_of_the_report() -> None:
    blocks = [within(Part("a").drawn(), 0.5, (0, 1)), within(Part("b").drawn(), 0.5, (0, 1))]
    told = tasks(blocks, ["linear_mf"], ["both", "text"])
    assert told[:4] == [
        Task(0, BASELINE_TASK, "none", 0),
        Task(0, BASELINE_TASK, "none", 1),
        Task(0, "linear_mf", "both", 0),
        Task(0, "linear_mf", "both", 1),
    ]
    assert len(told) == 2 * 2 * (1 + 2)


def test_a_bench_finds_what_training_finds() -> None:
    data = Part("a", groups=60).drawn()
    trained = evaluate(
        ALGORITHMS["linear_mf"], data.table, data.views, Plan({"a": np.arange(len(data.table))}, 0.5, (0,))
    )
    block = within(data, 0.5, (0,))
    found = [judged for task in tasks([block], ["linear_mf"], ["both"]) for judged in run_task(block, task, JUDGING)]
    assert [judged.policy for judged in found] == [*BASELINES, "linear_mf"]
    for judged in found:
        for name, (mean, _) in trained["a"][judged.policy].figures.items():
            assert getattr(judged.judgement, name) == pytest.approx(mean, nan_ok=True), (judged.policy, name)
    assert found[-1].fit_s > 0
    assert found[-1].predict_us > 0
    assert found[-1].replicates.shape == (5, 7)


def test_the_clock_tells_the_seconds() -> None:
    ticks = iter([10.0, 12.5, 12.6])
    block = within(Part("a").drawn(), 0.5, (0,))
    judging = replace(JUDGING, clock=lambda: next(ticks))
    (judged,) = run_task(block, Task(0, "linear_mf", "both", 0), judging)
    assert judged.fit_s == 2.5
    assert judged.predict_us == pytest.approx(0.1e6 / 40)


def test_crossing_learns_from_every_row_of_the_others_and_of_no_group_that_is_judged() -> None:
    one, two = Part("one").drawn(), Part("two", groups=10, seed=1).drawn()
    groups = ("two-g0",) * 4 + one.table.groups[4:]
    block = across([replace(one, table=replace(one.table, groups=groups))], two, (0, 1))
    assert block.learned_from == ("one",)
    for split in block.splits:
        known, test = block.sides(split)
        assert set(test.query_ids) == set(two.table.query_ids)
        assert set(known.query_ids) == set(one.table.query_ids[4:])
    place = block.data.table.query_ids.index(two.table.query_ids[5])
    np.testing.assert_array_equal(block.data.views["image"][place], two.views["image"][5])


def test_crossing_judges_the_candidates_that_both_sides_know() -> None:
    one, two = Part("one", candidates=5).drawn(), Part("two", candidates=3, seed=1).drawn()
    known, test = across([one], two, (0,)).sides(across([one], two, (0,)).splits[0])
    assert known.candidates == test.candidates == two.table.candidates
    stranger = replace(two, table=replace(two.table, candidates=("x", "y", "candidate-0")))
    with pytest.raises(TableError, match="shares 1 candidates"):
        across([one], stranger, (0,))
    with pytest.raises(TableError, match="every row to learn from shares a group"):
        across([replace(one, table=replace(one.table, groups=(two.table.groups[0],) * 80))], two, (0,))
    with pytest.raises(TableError, match="different views"):
        across([replace(one, views={"text": one.views["text"]})], two, (0,))


@dataclass(frozen=True, slots=True)
class Watching:
    """An algorithm that keeps what it was shown and says the same of every query."""

    shown: list[Drawn]
    algorithm: str = "watching"

    def fit(self, table: OutcomeTable, views: Drawn, *, encoder_digest: str = "", seed: int = 0) -> Watching:
        self.shown.append(views)
        return self

    @property
    def candidates(self) -> tuple[str, ...]:
        return tuple(f"candidate-{column}" for column in range(4))

    def forecast(self, views: Drawn) -> Forecast:
        self.shown.append(views)
        if not any(rows.any() for rows in views.values()):
            raise ValueError("nothing is seen")
        even = np.full((len(views["text"]), 4), 0.5)
        return Forecast(even, even * 0, even * 100, even * 200)


@pytest.mark.parametrize(
    ("view", "text_only", "learned", "asked"),
    [
        ("both", False, {"text", *IMAGES}, {"text", *IMAGES}),
        ("text", False, {"text"}, {"text"}),
        ("image", False, IMAGES, IMAGES),
        ("both", True, {"text", *IMAGES}, {"text"}),
    ],
)
def test_what_is_withheld_is_zero(view: str, text_only: bool, learned: set[str], asked: set[str]) -> None:
    watching = Watching([])
    judging = replace(JUDGING, algorithms={"watching": watching})
    block = within(Part("a").drawn(), 0.5, (0,), text_only=text_only)
    (judged,) = run_task(block, Task(0, "watching", view, 0), judging)
    assert judged.problem == ""
    seen = [{name for name, rows in views.items() if rows.any()} for views in watching.shown]
    assert seen == [set(learned), set(asked)]
    assert len(watching.shown[0]["text"]) == len(watching.shown[1]["text"]) == 40


def test_a_router_that_fails_says_why_and_stops_nobody() -> None:
    judging = replace(JUDGING, algorithms={"watching": Watching([])})
    data = Part("a").drawn()
    blind = replace(data, views={name: rows * 0 for name, rows in data.views.items()})
    (judged,) = run_task(within(blind, 0.5, (0,)), Task(0, "watching", "both", 0), judging)
    assert judged.problem == "ValueError: nothing is seen"
    assert np.isnan(judged.judgement.nauc)
    assert np.isnan(judged.curve).all()


def test_a_curve_is_what_each_cost_buys() -> None:
    frontier = Frontier(np.array([np.inf, 2.0, 1.0]), np.array([2.0, 1.0, 4.0]), np.array([0.5, 0.2, 0.4]))
    bought = curve(frontier, np.array([0.5, 1.0, 1.9, 2.0, 9.0]))
    np.testing.assert_array_equal(bought, [np.nan, 0.2, 0.2, 0.5, 0.5])


def test_the_grid_spans_the_singles() -> None:
    block = within(Part("a").drawn(), 0.5, (0, 1))
    _, singles = block.singles
    grid = cost_grid(block)
    assert len(grid) == CURVE_POINTS
    assert (grid[0], grid[-1]) == pytest.approx(singles.cost_range)
    free = replace(block.data.table, cost_usd=block.data.table.cost_usd * [0, 1, 1, 1])
    assert cost_grid(replace(block, data=replace(block.data, table=free)))[0] == 0


def test_missing_cells_are_judged_by_the_shared_protocol_and_whole_rows_by_the_papers() -> None:
    block: BenchBlock = within(Part("a", missing=0.1, groups=40).drawn(), 0.5, (0,))
    judging = replace(JUDGING, measures=(SharedSweep(), Paper()))
    for router, policies in ((BASELINE_TASK, 3), ("linear_mf", 1)):
        found = run_task(block, Task(0, router, "both", 0), judging)
        assert [judged.protocol for judged in found] == ["shared"] * policies + ["paper"] * policies
        for judged in found:
            assert judged.problem == ""
            assert np.isfinite(judged.judgement.peak_score)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_router_bears_a_view_that_is_withheld(name: str) -> None:
    block = within(Part("a", groups=16).drawn(), 0.5, (0,))
    for view in ("text", "image"):
        (judged,) = run_task(block, Task(0, name, view, 0), JUDGING)
        assert judged.problem == ""
        assert np.isfinite(judged.judgement.log_loss)
