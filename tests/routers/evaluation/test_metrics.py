"""The sweep against a naive one, and the laws of the figures."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from routers.evaluation.metrics import (
    Frontier,
    Singles,
    calibration_error,
    choices,
    log_loss,
    mean_and_spread,
    nauc,
    peak_score,
    quality_neutral_cost,
    row_gaps,
    row_losses,
    single_points,
    sweep,
    trace,
)
from tests.checks.work import work_of


@dataclass(frozen=True, slots=True)
class Case:
    """Forecasts and outcomes, [n, K]; NaN in score and cost where missing."""

    quality: np.ndarray
    expected_cost: np.ndarray
    score: np.ndarray
    cost: np.ndarray

    def swept(self) -> Frontier:
        return sweep(self.quality, self.expected_cost, self.score, self.cost)

    def singles(self) -> Singles:
        return single_points(self.score, self.cost)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Numbers on a coarse grid, so that ties of every kind are common and exact."""
    shape = (draw(st.integers(1, 6)), draw(st.integers(1, 5)))
    eighths = arrays(np.int64, shape, elements=st.integers(0, 8))
    whole = arrays(np.int64, shape, elements=st.integers(1, 6))
    observed = draw(arrays(np.bool_, shape))
    observed[0, 0] = True
    score = np.where(observed, draw(eighths) / 8, np.nan)
    cost = np.where(observed, draw(whole).astype(float), np.nan)
    return Case(draw(eighths) / 8, draw(whole).astype(float), score, cost)


@given(cases())
def test_sweep_agrees_with_trying_every_lambda(case: Case) -> None:
    found = case.swept()
    for penalty in naive_penalties(case):
        place = int((found.penalties > penalty).sum()) - 1
        cost, score = naive_point(case, penalty)
        assert found.costs[place] == pytest.approx(cost, abs=1e-9)
        assert found.scores[place] == pytest.approx(score, abs=1e-9)
    assert len(found.costs) == len(found.scores) == len(found.penalties)
    assert found.penalties[0] == np.inf
    assert (np.diff(found.penalties) < 0).all()
    assert (found.penalties > 0).all()


@given(cases(), st.floats(0, 5))
def test_choices_are_the_naive_ones(case: Case, penalty: float) -> None:
    observed = ~np.isnan(case.score) & ~np.isnan(case.cost)
    rows = observed.any(axis=1)
    picked = choices(case.quality[rows], case.expected_cost[rows], observed[rows], penalty)
    for row, choice in zip(np.flatnonzero(rows), picked, strict=True):
        assert observed[row, choice]
        value = case.quality[row] - penalty * case.expected_cost[row]
        assert value[choice] == value[observed[row]].max()


@given(cases())
def test_figures_agree_with_their_definitions(case: Case) -> None:
    found, singles = case.swept(), case.singles()
    low, high = singles.cost_range
    points = list(zip(found.costs.tolist(), found.scores.tolist(), strict=True))
    anchor = singles.scores[singles.cheapest]
    if high > low:
        edges = sorted({low, high, *(cost for cost, _ in points if low < cost < high)})
        area = 0.0
        for left, right in itertools.pairwise(edges):
            best = max([anchor, *(score for cost, score in points if cost <= left)])
            area += best * (right - left)
        assert nauc(found, singles) == pytest.approx(area / (high - low), abs=1e-9)
    assert peak_score(found) == max(score for _, score in points)
    reach = [cost for cost, score in points if score >= singles.scores[singles.best] - 1e-12]
    expected = min(reach) / singles.costs[singles.best] if reach else np.inf
    assert quality_neutral_cost(found, singles) == pytest.approx(expected)


@given(cases(), st.data())
def test_order_of_rows_changes_nothing(case: Case, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(len(case.score)))))
    other = Case(case.quality[order], case.expected_cost[order], case.score[order], case.cost[order])
    assert nauc(other.swept(), other.singles()) == pytest.approx(nauc(case.swept(), case.singles()), abs=1e-9)
    assert peak_score(other.swept()) == pytest.approx(peak_score(case.swept()), abs=1e-9)


@given(cases(), st.integers(0, 8), st.integers(1, 6))
def test_a_candidate_that_nobody_picks_changes_nothing(case: Case, score: int, cost: int) -> None:
    column = np.ones((len(case.score), 1))
    other = Case(
        np.hstack([case.quality, -column]),
        np.hstack([case.expected_cost, 7 * column]),
        np.hstack([case.score, np.where(observed_rows(case)[:, None], score / 8 * column, np.nan)]),
        np.hstack([case.cost, cost * column]),
    )
    for name in ("penalties", "costs", "scores"):
        np.testing.assert_allclose(getattr(other.swept(), name), getattr(case.swept(), name), atol=1e-9)


@given(cases(), st.floats(-10, 10), st.floats(0, 10))
def test_forecasts_of_missing_cells_are_never_counted(case: Case, quality: float, cost: float) -> None:
    missing = np.isnan(case.score) | np.isnan(case.cost)
    other = Case(
        np.where(missing, quality, case.quality),
        np.where(missing, cost, case.expected_cost),
        case.score,
        case.cost,
    )
    assert nauc(other.swept(), other.singles()) == nauc(case.swept(), case.singles())
    blank = np.where(missing, np.nan, case.quality)
    assert log_loss(np.where(missing, 0.3, blank), case.score) == log_loss(np.where(missing, 0.7, blank), case.score)
    assert calibration_error(np.where(missing, 0.3, blank), case.score) == calibration_error(
        np.where(missing, 0.7, blank), case.score
    )


@given(cases(), st.data())
def test_a_router_that_dominates_never_scores_lower(case: Case, data: st.DataObject) -> None:
    worse, singles = case.swept(), case.singles()
    shares = arrays(np.float64, worse.costs.shape, elements=st.floats(0, 1))
    better = Frontier(
        worse.penalties,
        worse.costs * data.draw(shares),
        worse.scores + (1 - worse.scores) * data.draw(shares),
    )
    assert nauc(better, singles) >= nauc(worse, singles) - 1e-9
    assert peak_score(better) >= peak_score(worse) - 1e-12
    assert quality_neutral_cost(better, singles) <= quality_neutral_cost(worse, singles) + 1e-9


def test_a_sweep_worked_by_hand_over_several_rows() -> None:
    """Costs are 1, 2 and 4. Row 1 steps up at lambda 0.25 / 1 and again at 0.0625 / 2; row 2 leaves out its second
    candidate, which lies under the line from first to third, and steps up at 0.375 / 3; row 3 at 0.25 / 1, with row 1,
    and never to its third, which is forecast below its second.
    """
    quality = np.array([[0.25, 0.5, 0.5625], [0.25, 0.3125, 0.625], [0.125, 0.375, 0.25]])
    score = np.array([[0.0, 0.5, 1.0], [0.25, 0.0, 0.75], [0.0, 1.0, 0.5]])
    cost = np.tile([1.0, 2.0, 4.0], (3, 1))
    found, singles = sweep(quality, cost, score, cost), single_points(score, cost)
    assert found.penalties.tolist() == [np.inf, 0.25, 0.125, 0.03125]
    np.testing.assert_allclose(found.costs, np.array([1 + 1 + 1, 2 + 1 + 2, 2 + 4 + 2, 4 + 4 + 2]) / 3)
    np.testing.assert_allclose(found.scores, np.array([0.25, 0.5 + 0.25 + 1, 0.5 + 0.75 + 1, 1 + 0.75 + 1]) / 3)
    np.testing.assert_allclose(singles.scores, np.array([0.25, 1.5, 2.25]) / 3)
    area = 0.25 / 3 * 2 / 3 + 1.75 / 3 * 1 + 2.25 / 3 * 2 / 3 + 2.75 / 3 * 2 / 3  # costs 1, 5/3, 8/3, 10/3 and 4
    assert nauc(found, singles) == pytest.approx(area / 3)
    assert peak_score(found) == pytest.approx(2.75 / 3)
    assert quality_neutral_cost(found, singles) == pytest.approx(8 / 3 / 4)


def test_decisions_that_change_at_one_lambda_make_one_point_wherever_it_lies() -> None:
    """By hand: row 1 steps up at lambda 0.5 and at 0.25, row 2 at 0.25."""
    quality, cost = np.array([[0.0, 0.5, 0.75], [0.0, 0.25, 0.25]]), np.array([[1.0, 2.0, 3.0]] * 2)
    found = sweep(quality, cost, quality, cost)
    assert found.penalties.tolist() == [np.inf, 0.5, 0.25]
    assert found.costs.tolist() == [1.0, 1.5, 2.5]
    assert found.scores.tolist() == [0.0, 0.25, 0.5]


def test_rows_weigh_what_they_are_given() -> None:
    """By hand: the second row counts three times, the third not at all."""
    score = np.array([[0.0, 1.0], [1.0, 0.5], [0.0, np.nan]])
    cost = np.array([[1.0, 3.0], [2.0, 5.0], [9.0, np.nan]])
    weights = np.array([1.0, 3.0, 0.0])
    singles = single_points(score, cost, weights)
    np.testing.assert_allclose(singles.scores, [3 / 4, (1 + 1.5) / 4])
    np.testing.assert_allclose(singles.costs, [(1 + 6) / 4, (3 + 15) / 4])
    swept = trace(np.array([[0.0, 1.0]] * 3), np.array([[1.0, 2.0], [1.0, 3.0], [1.0, 1.0]]), score, cost)
    found = swept.frontier(weights)
    assert found.penalties.tolist() == [np.inf, 1.0, 0.5]
    np.testing.assert_allclose(found.scores, [3 / 4, (1 + 3) / 4, (1 + 1.5) / 4])
    np.testing.assert_allclose(found.costs, [(1 + 6) / 4, (3 + 6) / 4, (3 + 15) / 4])
    with pytest.raises(ValueError, match="no cell was observed"):
        swept.frontier(np.zeros(3))


def test_ties_of_quality_go_to_the_cheaper() -> None:
    one = np.array([[0.5, 0.5]])
    found = sweep(one, np.array([[3.0, 1.0]]), np.array([[1.0, 0.0]]), np.array([[3.0, 1.0]]))
    assert found.costs.tolist() == [1.0]
    assert found.scores.tolist() == [0.0]


def test_a_frontier_needs_an_observed_cell() -> None:
    nothing = np.full((2, 2), np.nan)
    with pytest.raises(ValueError, match="no cell"):
        sweep(np.ones((2, 2)), np.ones((2, 2)), nothing, nothing)


def test_a_forecast_that_is_not_finite_is_refused() -> None:
    cells = np.ones((2, 2))
    with pytest.raises(ValueError, match="not finite"):
        sweep(np.array([[0.5, np.nan], [0.5, 0.5]]), cells, cells, cells)


def test_singles_of_one_price_have_no_range_to_integrate() -> None:
    cells = np.array([[1.0, 0.0], [0.0, 1.0]])
    price = np.ones((2, 2))
    assert nauc(sweep(cells, price, cells, price), single_points(cells, price)) == 1.0


def test_a_router_that_never_reaches_the_best_single_has_infinite_qnc() -> None:
    singles = Singles(costs=np.array([1.0, 2.0]), scores=np.array([0.2, 0.9]))
    short = Frontier(np.array([np.inf]), np.array([1.0]), np.array([0.2]))
    assert quality_neutral_cost(short, singles) == np.inf


def test_log_loss_and_calibration_of_known_forecasts() -> None:
    score = np.array([[1.0, 0.0], [np.nan, 1.0]])
    assert log_loss(np.full((2, 2), 0.5), score) == pytest.approx(np.log(2))
    assert calibration_error(np.array([[1.0, 0.0], [0.1, 1.0]]), score) == 0.0
    assert calibration_error(np.full((2, 2), 0.5), score) == pytest.approx(2 / 3 - 0.5)


def test_calibration_error_worked_by_hand_over_several_rows() -> None:
    """Two bins. Below 0.5 lie 0.2 and 0.4: forecast 0.6, observed 0 + 1, a gap of -0.4. Above lie 0.8, 0.6 and 0.9:
    forecast 2.3, observed 1 + 0 + 1, a gap of 0.3. Over 5 observed cells: (0.4 + 0.3) / 5 = 0.14.
    """
    quality = np.array([[0.2, 0.8], [0.4, 0.6], [0.3, 0.9]])
    score = np.array([[0.0, 1.0], [1.0, 0.0], [np.nan, 1.0]])
    assert calibration_error(quality, score, bins=2) == pytest.approx(0.14)
    gaps = [[0.2, -0.2], [-0.6, 0.6], [0.0, -0.1]]  # a row's own; they add up to -0.4 and 0.3
    np.testing.assert_allclose(row_gaps(quality, score, bins=2), gaps, atol=1e-12)


def test_calibration_error_has_fifteen_bins_and_the_last_has_its_upper_edge() -> None:
    """By hand, width 1/15: 0.06 and 0.07 lie apart, (0.94 + 0.07) / 2; 0.95 and 1.0 together, |-0.05 + 1.0| / 2."""
    assert calibration_error(np.array([[0.06], [0.07]]), np.array([[1.0], [0.0]])) == pytest.approx(0.505)
    assert calibration_error(np.array([[0.95], [1.0]]), np.array([[1.0], [0.0]])) == pytest.approx(0.475)
    assert row_gaps(np.array([[0.5]]), np.array([[1.0]])).shape == (1, 15)


def test_log_loss_worked_by_hand_over_several_rows() -> None:
    """-(ln 0.8 + ln 0.5 + ln 0.9) / 3, the missing cell left out; forecasts of 0 and 1 are taken for nearly that."""
    quality, score = np.array([[0.8, 0.5], [0.3, 0.1]]), np.array([[1.0, 0.0], [np.nan, 0.0]])
    assert log_loss(quality, score) == pytest.approx(-np.log(0.8 * 0.5 * 0.9) / 3)
    losses, cells = row_losses(quality, score)
    np.testing.assert_allclose(losses, [-np.log(0.8 * 0.5), -np.log(0.9)])
    assert cells.tolist() == [2, 1]
    assert log_loss(np.array([[0.0]]), np.array([[1.0]])) == pytest.approx(-np.log(1e-6))
    assert log_loss(np.array([[1.0]]), np.array([[0.0]])) == pytest.approx(-np.log(1e-6))


def test_spread_of_one_seed_is_unknown() -> None:
    assert mean_and_spread([0.5])[0] == 0.5
    assert np.isnan(mean_and_spread([0.5])[1])
    assert np.isnan(mean_and_spread([0.5, np.inf])[1])
    assert mean_and_spread([0.4, 0.6]) == (pytest.approx(0.5), pytest.approx(0.02**0.5))


@pytest.mark.slow
def test_a_hundred_times_the_rows_are_swept_in_hardly_more_calls_and_in_memory_that_grows_with_them() -> None:
    work = []
    for rows in (110, 11_000):
        random = np.random.default_rng(0)
        quality, expected, cost = (random.random((rows, 10)) for _ in range(3))
        score = (random.random((rows, 10)) < quality).astype(float)
        work.append(work_of(partial(sweep, quality, expected, score, cost)))
    few, many = work
    assert many.lines <= 1.3 * few.lines and many.calls <= 1.3 * few.calls, "no loop over the rows"
    assert many.peak_bytes <= 10 * 11_000 * 10 * 8, "ten tables of eight-byte numbers"


def observed_rows(case: Case) -> np.ndarray:
    return (~np.isnan(case.score) & ~np.isnan(case.cost)).any(axis=1)


def naive_penalties(case: Case) -> list[float]:
    """A lambda inside every interval between the breakpoints of all pairs of all rows."""
    found = {0.0}
    rows, width = case.quality.shape
    for row in range(rows):
        for left in range(width):
            for right in range(width):
                price = case.expected_cost[row, right] - case.expected_cost[row, left]
                gain = case.quality[row, right] - case.quality[row, left]
                if price > 0 and gain > 0:
                    found.add(gain / price)
    edges = [*sorted(found), max(found) + 1]
    return [(low + high) / 2 for low, high in itertools.pairwise(edges)]


def naive_point(case: Case, penalty: float) -> tuple[float, float]:
    costs, scores = [], []
    for row in range(len(case.score)):
        best, chosen = -np.inf, None
        for column in range(case.score.shape[1]):
            if np.isnan(case.score[row, column]) or np.isnan(case.cost[row, column]):
                continue
            value = case.quality[row, column] - penalty * case.expected_cost[row, column]
            if value > best:
                best, chosen = value, column
        if chosen is not None:
            costs.append(case.cost[row, chosen])
            scores.append(case.score[row, chosen])
    return float(np.mean(costs)), float(np.mean(scores))
