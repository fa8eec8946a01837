"""The paper's protocol against a naive reading of its published definitions: every cap, every row, plain loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from routers.base import Forecast
from routers.evaluation.bench import restricted
from routers.evaluation.judge import Policy, baselines, judge, routed
from routers.evaluation.paper_protocol import Paper
from routers.registry import ALGORITHMS
from routers.table.outcome_table import OutcomeTable
from routers.table.split import grouped_splits
from tests.fakes.synthetic import drawn_table

PAPER = Paper()
ROWS, CANDIDATES = 2000, 6

Points = list[tuple[float, float]]


@pytest.fixture(scope="module")
def sides() -> tuple[OutcomeTable, OutcomeTable, Forecast]:
    """2,000 x 6 in all; one candidate's name sorts before the cheapest one's, so that the first column matters."""
    table, views = drawn_table(groups=ROWS // 4, candidates=CANDIDATES, seed=7)
    table = replace(table, candidates=("f", "b", "e", "a", "d", "c"))
    split = next(grouped_splits(table.groups, 0.2, [0]))
    known, test = table.take(split.train), table.take(split.test)
    router = ALGORITHMS["linear_mf"].fit(known, {name: rows[split.train] for name, rows in views.items()})
    return known, test, router.forecast({name: rows[split.test] for name, rows in views.items()})


@pytest.mark.slow
def test_baselines_agree_with_the_naive_reading(sides: tuple[OutcomeTable, OutcomeTable, Forecast]) -> None:
    known, test, _ = sides
    policies = {policy.name: policy for policy in baselines(known, test, PAPER)}
    assert_agrees(policies["random"], test, naive_random(test))
    assert_agrees(policies["oracle"], test, naive_capped(test.score, test.cost_usd, test))
    means = np.tile(known.score.mean(axis=0), (len(test), 1))
    costs = np.tile(known.cost_usd.mean(axis=0), (len(test), 1))
    assert_agrees(policies["best_single"], test, naive_capped(means, costs, test))


@pytest.mark.slow
def test_routers_agree_with_the_naive_reading(sides: tuple[OutcomeTable, OutcomeTable, Forecast]) -> None:
    known, test, forecast = sides
    policy = routed("linear_mf", forecast, (known, test), PAPER)
    assert_agrees(policy, test, naive_capped(forecast.quality, naive_cost(known, forecast), test))
    near = np.random.default_rng(1).integers(0, len(known), (len(test), 10))  # as kNN: few levels, many ties
    quality, predicted = known.score[near].mean(axis=1), known.cost_usd[near].mean(axis=1)
    assert_agrees(Policy("knn", PAPER.decide(quality, predicted, test)), test, naive_capped(quality, predicted, test))
    cluster = np.random.default_rng(2).integers(0, 20, len(test))  # as KMeans: rows of a cluster are alike
    quality, predicted = quality[cluster], predicted[cluster]
    assert_agrees(
        Policy("kmeans", PAPER.decide(quality, predicted, test)), test, naive_capped(quality, predicted, test)
    )


@pytest.mark.parametrize(
    "coarsened",
    [
        pytest.param(lambda quality: np.round(quality * 4) / 4, id="many ties"),
        pytest.param(lambda quality: np.zeros_like(quality), id="all equal"),
        pytest.param(lambda quality: -quality, id="the wrong way round"),
    ],
)
def test_ties_go_to_the_first_name(
    sides: tuple[OutcomeTable, OutcomeTable, Forecast], coarsened: Callable[[np.ndarray], np.ndarray]
) -> None:
    known, test, forecast = sides
    few = np.arange(0, len(test), 8)
    test, quality = test.take(few), coarsened(forecast.quality[few])
    expected = np.round(naive_cost(known, forecast)[few], 4)
    assert_agrees(Policy("x", PAPER.decide(quality, expected, test)), test, naive_capped(quality, expected, test))


def test_a_row_that_no_cap_admits_gets_the_first_name() -> None:
    table, _ = drawn_table(groups=2, candidates=2)
    table = replace(table, candidates=("b", "a"))
    score, cost = table.score * 0, np.ones_like(table.cost_usd)
    score[0] = [0.0, 1.0]  # the first name, `a`, is right on the first row
    cost[:, 1] = 5.0
    table = replace(table, score=score, cost_usd=cost)
    predicted = np.full(cost.shape, 9.0)
    predicted[1:, 0] = 2.0  # a cap of 2 admits `b` on all rows but the first
    first = PAPER.decide(np.full(cost.shape, 0.5), predicted, table).frontier()
    assert first.costs[0] == pytest.approx((5 + 7) / 8)
    assert first.scores[0] == pytest.approx(1 / 8)


def test_a_single_point_has_no_area() -> None:
    table, _ = drawn_table(groups=3, candidates=1)
    policy = Policy("x", PAPER.decide(table.score, np.ones_like(table.cost_usd), table))
    found = judge(policy, table, PAPER)
    assert np.isnan(found.nauc)
    assert found.qnc == pytest.approx(1)
    assert found.peak_score == found.accuracy == table.score.mean()


def test_rows_with_a_missing_cell_are_left_out(sides: tuple[OutcomeTable, OutcomeTable, Forecast]) -> None:
    _, test, forecast = sides
    score = test.score.copy()
    score[::3, 2] = np.nan
    holed = replace(test, score=score)
    whole = np.flatnonzero(~np.isnan(score).any(axis=1))
    expected = np.tile(np.linspace(1, 2, CANDIDATES), (len(test), 1))
    one = Policy("x", PAPER.decide(forecast.quality, expected, holed))
    other = Policy("x", PAPER.decide(forecast.quality[whole], expected[whole], test.take(whole)))
    assert judge(one, holed, PAPER) == judge(other, test.take(whole), PAPER)
    with pytest.raises(ValueError, match="all its cells"):
        PAPER.chance(replace(test, score=np.full(score.shape, np.nan)))


def test_a_forecast_that_is_not_finite_is_refused(sides: tuple[OutcomeTable, OutcomeTable, Forecast]) -> None:
    _, test, _ = sides
    with pytest.raises(ValueError, match="not finite"):
        PAPER.decide(np.full(test.score.shape, np.nan), test.cost_usd, test)


def test_weights_of_rows_are_the_rows_repeated(sides: tuple[OutcomeTable, OutcomeTable, Forecast]) -> None:
    _, test, forecast = sides
    times = np.random.default_rng(3).integers(0, 4, len(test))
    again = np.repeat(np.arange(len(test)), times)
    repeated = replace(test.take([]), **columns(test, again))
    expected = test.cost_usd + 1e-5
    weighed = PAPER.worth(PAPER.decide(forecast.quality, expected, test), test, times.astype(float))
    plain = PAPER.worth(PAPER.decide(forecast.quality[again], expected[again], repeated), repeated)
    assert weighed.nauc == pytest.approx(plain.nauc, abs=1e-9)
    assert (weighed.peak_score, weighed.accuracy) == pytest.approx((plain.peak_score, plain.accuracy), abs=1e-12)
    assert weighed.qnc == pytest.approx(plain.qnc, abs=1e-9)


def test_without_tokens_to_tell_by_the_expected_cost_is_the_mean() -> None:
    table, _ = drawn_table(groups=4, candidates=3)
    same = replace(table, output_tokens=np.full(table.score.shape, 7.0))
    forecast = Forecast(*(np.full((2, 3), 5.0) for _ in range(4)))
    np.testing.assert_allclose(PAPER.expected_cost(same, forecast), np.tile(table.cost_usd.mean(axis=0), (2, 1)))
    rising = PAPER.expected_cost(table, Forecast(*(np.array([[10.0] * 3, [500.0] * 3]) for _ in range(4))))
    assert (rising[1] > rising[0]).all()
    assert (rising >= 0).all()


def test_withheld_views_are_zero() -> None:
    views = {"text": np.ones((2, 3), np.float32), "image": np.ones((2, 4), np.float32)}
    images = frozenset({"image"})
    assert [rows.any() for rows in restricted(views, images, "both").values()] == [True, True]
    assert [rows.any() for rows in restricted(views, images, "text").values()] == [True, False]
    assert [rows.any() for rows in restricted(views, images, "image").values()] == [False, True]


def columns(table: OutcomeTable, rows: np.ndarray) -> dict[str, object]:
    """The fields of a table whose rows may repeat: ids are made anew."""
    return {
        "query_ids": tuple(f"r{number}" for number in range(len(rows))),
        "groups": tuple(table.groups[row] for row in rows),
        "questions": ("",) * len(rows),
        "image_paths": (None,) * len(rows),
        "score": table.score[rows],
        "output_tokens": table.output_tokens[rows],
        "cost_usd": table.cost_usd[rows],
    }


def assert_agrees(policy: Policy, test: OutcomeTable, points: Points) -> None:
    found = judge(policy, test, PAPER)
    nauc, peak, qnc = naive_figures(points, test)
    assert found.nauc == pytest.approx(nauc, abs=1e-9, nan_ok=True)
    assert found.peak_score == pytest.approx(peak, abs=1e-9)
    assert found.qnc == pytest.approx(qnc, abs=1e-9)


def naive_capped(quality: np.ndarray, predicted: np.ndarray, test: OutcomeTable) -> Points:
    """At every cap every row is decided anew; nothing is carried over, so it takes n K times n K steps."""
    names = sorted(test.candidates)
    order = [test.candidates.index(name) for name in names]
    quality, predicted, score, cost = (v[:, order] for v in (quality, predicted, test.score, test.cost_usd))
    rows = range(len(score))
    points = []
    for cap in sorted(set(predicted.ravel().tolist())):
        chosen = np.where(predicted <= cap, quality, -np.inf).argmax(axis=1)  # of all -inf: the first
        points.append((float(cost[rows, chosen].mean()), float(score[rows, chosen].mean())))
    return points


def naive_random(test: OutcomeTable) -> Points:
    order = [test.candidates.index(name) for name in sorted(test.candidates)]
    random = np.random.default_rng(42)
    points = []
    for _ in range(50):
        drawn = random.integers(0, len(order), size=len(test))
        got = [test.score[row, order[place]] for row, place in enumerate(drawn)]
        paid = [test.cost_usd[row, order[place]] for row, place in enumerate(drawn)]
        points.append((float(np.mean(paid)), float(np.mean(got))))
    return points


def naive_figures(points: Points, test: OutcomeTable) -> tuple[float, float, float]:
    """nAUC, P_s and QNC of points (cost, score) as the published code reads them."""
    kept: Points = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not kept or score > kept[-1][1] + 1e-12:
            kept.append((cost, score))
    area = sum((kept[i + 1][0] - kept[i][0]) * (kept[i + 1][1] + kept[i][1]) / 2 for i in range(len(kept) - 1))
    width = kept[-1][0] - kept[0][0]
    best_score, best_cost = -1.0, 0.0
    for name in sorted(test.candidates):
        column = test.candidates.index(name)
        mean = sum(test.score[:, column].tolist()) / len(test)
        if mean > best_score:
            best_score, best_cost = mean, sum(test.cost_usd[:, column].tolist()) / len(test)
    reached = [cost for cost, score in kept if score >= best_score - 1e-12]
    return (
        area / width if len(kept) > 1 else float("nan"),
        max(score for _, score in kept),
        reached[0] / best_cost if reached else float("inf"),
    )


def naive_cost(known: OutcomeTable, forecast: Forecast) -> np.ndarray:
    """Each candidate's own least-squares line through (tokens, cost), at the forecast tokens."""
    columns = []
    for column in range(len(known.candidates)):
        slope, offset = np.polyfit(known.output_tokens[:, column], known.cost_usd[:, column], 1)
        columns.append(np.maximum(offset + max(slope, 0.0) * forecast.output_tokens[:, column], 0.0))
    return np.stack(columns, axis=1)
