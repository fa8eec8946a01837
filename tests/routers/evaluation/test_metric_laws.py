"""Laws of the figures that hold whatever a router forecasts, of both protocols where they apply."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis.extra.numpy import arrays

from routers.base import Forecast
from routers.evaluation.judge import Judgement, Policy, judge
from routers.evaluation.metrics import log_loss, nauc, peak_score, quality_neutral_cost, single_points, sweep
from routers.evaluation.paper_protocol import Paper
from routers.evaluation.protocol import Measure, SharedSweep, Worth
from routers.table.outcome_table import OutcomeTable

MEASURES = st.sampled_from([SharedSweep(), Paper()])


@dataclass(frozen=True, slots=True)
class World:
    """Outcomes, and forecasts of them; every array [n, K]."""

    table: OutcomeTable
    quality: np.ndarray
    expected: np.ndarray

    def judged(self, measure: Measure) -> Judgement:
        tokens = np.full(self.quality.shape, 2.5)
        forecast = Forecast(self.quality, np.zeros_like(self.quality), tokens, tokens)
        policy = Policy("drawn", measure.decide(self.quality, self.expected, self.table), forecast)
        return judge(policy, self.table, measure)


@st.composite
def worlds(draw: st.DrawFn, *, missing: bool = False) -> World:
    """Numbers on a coarse grid, so that ties of every kind are common and exact."""
    shape = (draw(st.integers(1, 7)), draw(st.integers(1, 5)))
    eighths = arrays(np.int64, shape, elements=st.integers(0, 8))
    whole = arrays(np.int64, shape, elements=st.integers(1, 6))
    table = tabled(draw(eighths) / 8, draw(whole).astype(float), draw(whole).astype(float))
    if missing:
        hidden = draw(arrays(np.bool_, shape))
        hidden[0] = False  # the paper's protocol needs a row with all its cells
        table = tabled(*(np.where(hidden, np.nan, values) for _, values in table.numbers()))
    return World(table, draw(eighths) / 8, draw(whole).astype(float))


@given(worlds(missing=True), MEASURES, st.data())
def test_order_of_rows_changes_nothing(world: World, measure: Measure, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(len(world.table)))))
    other = World(world.table.take(order), world.quality[order], world.expected[order])
    np.testing.assert_allclose(astuple(other.judged(measure)), astuple(world.judged(measure)), atol=1e-9)


@given(worlds(missing=True), st.data())
def test_order_of_candidates_changes_nothing_that_is_no_tie(world: World, data: st.DataObject) -> None:
    """Distinct expected costs and qualities: then no tie is broken by place, in either protocol."""
    rows, width = world.quality.shape
    slope = np.arange(rows * width).reshape(rows, width) / (rows * width * 64)
    world = World(world.table, world.quality + slope, world.expected + 8 * slope)
    order = data.draw(st.permutations(range(width)))
    names = [world.table.candidates[place] for place in order]
    other = World(world.table.select(names), world.quality[:, order], world.expected[:, order])
    for measure in (SharedSweep(), Paper()):
        np.testing.assert_allclose(astuple(other.judged(measure)), astuple(world.judged(measure)), atol=1e-9)


@given(worlds(missing=True), MEASURES, st.floats(0, 1), st.floats(0, 9))
def test_what_is_forecast_of_a_missing_cell_never_counts(
    world: World, measure: Measure, quality: float, cost: float
) -> None:
    missing = ~world.table.mask
    other = World(world.table, np.where(missing, quality, world.quality), np.where(missing, cost, world.expected))
    assert repr(other.judged(measure)) == repr(world.judged(measure))


@given(worlds())
def test_a_row_without_any_cell_never_counts(world: World) -> None:
    bare = np.full((1, world.quality.shape[1]), np.nan)
    numbers = (np.vstack([values, bare]) for _, values in world.table.numbers())
    filler = np.ones_like(bare)
    other = World(tabled(*numbers), np.vstack([world.quality, filler]), np.vstack([world.expected, filler]))
    for measure in (SharedSweep(), Paper()):
        np.testing.assert_allclose(astuple(other.judged(measure)), astuple(world.judged(measure)), atol=1e-12)


@given(worlds(missing=True), st.data())
def test_a_router_that_dominates_never_scores_lower(world: World, data: st.DataObject) -> None:
    """The same decisions with better outcomes: higher scores at the same cost, or lower costs, by any amount."""
    worse = sweep(world.quality, world.expected, world.table.score, world.table.cost_usd)
    singles = single_points(world.table.score, world.table.cost_usd)
    shares = arrays(np.float64, world.quality.shape, elements=st.floats(0, 1))
    score = world.table.score + (1 - world.table.score) * data.draw(shares)
    cost = world.table.cost_usd * data.draw(shares)
    better = sweep(world.quality, world.expected, score, cost)
    assert nauc(better, singles) >= nauc(worse, singles) - 1e-9
    assert peak_score(better) >= peak_score(worse) - 1e-9
    reached = quality_neutral_cost(worse, singles)
    assert quality_neutral_cost(better, singles) <= reached + 1e-9 or better.scores.max() < singles.scores.max() + 1e-9


@given(worlds(), st.integers(0, 4), st.integers(0, 8))
def test_a_candidate_that_nobody_picks_and_that_sets_no_bound_changes_nothing(
    world: World, share: int, score: int
) -> None:
    """Its mean cost lies within the range and its score is not the best: then every figure of decisions stays."""
    singles = single_points(world.table.score, world.table.cost_usd)
    low, high = singles.cost_range
    cost = low + (high - low) * share / 4
    assume(score / 8 <= singles.scores.max() - 1e-6)
    assume(cost > low + 1e-6)  # the cheapest single anchors the curve
    other = widened(world, score / 8, cost)
    for measure in (SharedSweep(), Paper()):
        mine, theirs = worth(other, measure), worth(world, measure)
        if measure.name == "paper":
            names = sorted(other.table.candidates)
            assume(names[0] != "zz")  # rows without a feasible candidate fall to the first name
        np.testing.assert_allclose(astuple(mine), astuple(theirs), atol=1e-9)


@given(worlds(), st.integers(1, 8))
def test_a_dearer_candidate_that_nobody_picks_widens_the_range_and_nothing_else(world: World, more: int) -> None:
    """Where the shared range ends at the newcomer, the curve goes on at what it had reached: computed here anew."""
    singles = single_points(world.table.score, world.table.cost_usd)
    low, high = singles.cost_range
    other = widened(world, 0.0, high + more)
    before, after = worth(world, SharedSweep()), worth(other, SharedSweep())
    assert after.peak_score == before.peak_score
    assert after.accuracy == before.accuracy
    assert after.qnc == pytest.approx(before.qnc)
    points = sweep(world.quality, world.expected, world.table.score, world.table.cost_usd)
    curve, edges = [singles.scores[singles.cheapest]], [low]
    for cost, score in sorted(zip(points.costs.tolist(), points.scores.tolist(), strict=True)):
        if cost <= high + more:
            edges.append(max(cost, low))
            curve.append(max(curve[-1], score))
    widths = np.diff([*edges, high + more])
    assert after.nauc == pytest.approx(float(np.sum(np.array(curve) * widths)) / (high + more - low), abs=1e-9)


@given(worlds(missing=True), st.floats(0.01, 100))
def test_the_currency_does_not_matter(world: World, rate: float) -> None:
    dearer = replace(world.table, cost_usd=world.table.cost_usd * rate)
    other = World(dearer, world.quality, world.expected * rate)
    for measure in (SharedSweep(), Paper()):
        np.testing.assert_allclose(astuple(other.judged(measure)), astuple(world.judged(measure)), rtol=1e-7, atol=1e-9)


@given(worlds(missing=True))
def test_the_oracle_peaks_above_every_router(world: World) -> None:
    for measure in (SharedSweep(), Paper()):
        best = measure.worth(measure.oracle(world.table, world.expected), world.table)
        found = world.judged(measure)
        assert best.peak_score >= found.peak_score - 1e-9
        assert best.accuracy >= found.accuracy - 1e-9


@given(worlds())
def test_the_oracle_always_reaches_the_best_single(world: World) -> None:
    """With every cell observed; else a single seen on easy rows only is out of anyone's reach."""
    for measure in (SharedSweep(), Paper()):
        oracle = measure.worth(measure.oracle(world.table, world.expected), world.table)
        assert np.isfinite(oracle.qnc)


@given(worlds(missing=True))
def test_every_figure_stays_within_its_bounds(world: World) -> None:
    for measure in (SharedSweep(), Paper()):
        found = world.judged(measure)
        assert np.isnan(found.nauc) or -1e-9 <= found.nauc <= 1 + 1e-9
        assert 0 <= found.accuracy <= found.peak_score + 1e-9 <= 1 + 2e-9
        assert found.qnc > 0
        assert 0 <= found.ece <= 1
        assert 0 <= found.token_coverage <= 1
        assert found.nauc <= max(found.peak_score, world.table.score[world.table.mask].max()) + 1e-9 or np.isnan(
            found.nauc
        )


@given(worlds(missing=True))
def test_no_constant_forecast_has_a_lower_log_loss_than_the_mean(world: World) -> None:
    mean = float(world.table.score[world.table.mask].mean())
    best = log_loss(np.full(world.quality.shape, mean), world.table.score)
    for other in np.linspace(0.05, 0.95, 7):
        assert log_loss(np.full(world.quality.shape, other), world.table.score) >= best - 1e-9


def worth(world: World, measure: Measure) -> Worth:
    return measure.worth(measure.decide(world.quality, world.expected, world.table), world.table)


def widened(world: World, score: float, cost: float) -> World:
    """With one more candidate, last by name, forecast to be the worst and the dearest of all."""
    column = np.ones((len(world.table), 1))
    numbers = [
        np.hstack([values, column * new])
        for (_, values), new in zip(world.table.numbers(), (score, 1.0, cost), strict=True)
    ]
    return World(
        tabled(*numbers, last="zz"),
        np.hstack([world.quality, -column]),
        np.hstack([world.expected, 9 * column]),
    )


def tabled(score: np.ndarray, tokens: np.ndarray, cost: np.ndarray, last: str | None = None) -> OutcomeTable:
    rows, width = score.shape
    names = [f"c{column}" for column in range(width)]
    return OutcomeTable(
        query_ids=tuple(f"q{row}" for row in range(rows)),
        groups=tuple(f"g{row}" for row in range(rows)),
        questions=("",) * rows,
        image_paths=(None,) * rows,
        candidates=tuple([*names[:-1], last] if last else names),
        score=score,
        output_tokens=tokens,
        cost_usd=cost,
    )
