"""Routing against no routing: what is estimated of candidates that were not asked is right where choices were drawn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.outcomes.comparison import ALL, FEWEST_ROWS, Comparison, LabelledRow, compare
from gateway.telemetry.comparison import ComparisonGauges
from gateway.telemetry.metrics import Metrics
from routers.evaluation.off_policy import doubly_robust, importance

NAMES = ("cheap", "middle", "dear")
TRUE_SCORE = {"cheap": 0.4, "middle": 0.6, "dear": 0.8}
TRUE_COST = {"cheap": 0.001, "middle": 0.004, "dear": 0.01}
FORECAST = {"cheap": (0.6, 0.001), "middle": (0.55, 0.004), "dear": (0.5, 0.02)}
"""Wrong on purpose: the estimate has to mend it."""


def rows(
    count: int, seed: int, propensities: Sequence[float] = (0.5, 0.3, 0.2), tenant: str = "acme"
) -> list[LabelledRow]:
    """Choices drawn with known propensities; the dear one is labelled half as often as the others."""
    rng = np.random.default_rng(seed)
    found = []
    while len(found) < count:
        k = int(rng.choice(3, p=propensities))
        name = NAMES[k]
        labels = 0.5 if name == "dear" else 1.0
        if rng.random() < labels:
            score = float(rng.random() < TRUE_SCORE[name])
            found.append(LabelledRow(tenant, name, score, TRUE_COST[name], propensities[k], labels, FORECAST))
    return found


def found(given: Sequence[LabelledRow]) -> Comparison:
    comparison = compare(given)
    assert comparison is not None
    return comparison


@pytest.mark.slow
def test_candidates_alone_are_estimated_right_although_the_forecasts_are_wrong() -> None:
    comparisons = [found(rows(2_000, seed)) for seed in range(20)]
    for name in NAMES:
        scores = [each.singles[name].score for each in comparisons]
        costs = [each.singles[name].cost_usd for each in comparisons]
        error = 3 * np.std(scores) / np.sqrt(len(scores))
        assert abs(np.mean(scores) - TRUE_SCORE[name]) < error
        assert np.mean(costs) == pytest.approx(TRUE_COST[name], rel=0.05)
    assert {each.best for each in comparisons} == {"dear"}
    assert {each.cheapest for each in comparisons} == {"cheap"}


def test_a_candidate_alone_is_estimated_as_any_other_policy_is() -> None:
    """Where each was drawn as often as it should have been, so that nothing is left to normalise."""
    propensities = dict(zip(NAMES, (0.5, 0.3, 0.2), strict=True))
    taken = [name for name in NAMES for _ in range(round(FEWEST_ROWS * propensities[name]))]
    scores = np.random.default_rng(5).random(len(taken))
    pairs = list(zip(taken, scores.tolist(), strict=True))
    comparison = found([LabelledRow("acme", n, s, TRUE_COST[n], propensities[n], 1.0, FORECAST) for n, s in pairs])
    drawn_with = np.array([propensities[name] for name in taken])
    forecast = np.array([FORECAST[name][0] for name in taken])
    for name in NAMES:
        alone = np.full(len(taken), FORECAST[name][0])
        weights = importance(np.array([float(name == other) for other in taken]), drawn_with)
        estimate = doubly_robust(scores, weights, forecast, alone)
        assert comparison.singles[name].score == pytest.approx(estimate.value, rel=1e-12)


@pytest.mark.slow
def test_what_was_routed_is_weighted_by_how_rarely_it_was_labelled() -> None:
    routed = found(rows(20_000, 1)).routed
    assert routed.score == pytest.approx(0.5 * 0.4 + 0.3 * 0.6 + 0.2 * 0.8, abs=0.02)
    assert routed.cost_usd == pytest.approx(0.5 * 0.001 + 0.3 * 0.004 + 0.2 * 0.01, rel=0.05)


def test_without_exploration_the_forecasts_stand_for_what_was_not_asked() -> None:
    given = [LabelledRow("acme", "cheap", 1.0, 0.002, 1.0, 1.0, FORECAST)] * FEWEST_ROWS
    comparison = found(given)
    assert comparison.explored == 0
    assert (comparison.singles["cheap"].score, comparison.singles["cheap"].cost_usd) == pytest.approx((1.0, 0.002))
    assert (comparison.singles["dear"].score, comparison.singles["dear"].cost_usd) == pytest.approx((0.5, 0.02))


def test_a_router_that_knows_reaches_the_best_single_for_less() -> None:
    """Half of the queries are easy, and the router knows which: the cheap candidate does for them."""
    easy = {"cheap": (1.0, 0.001), "dear": (1.0, 0.01)}
    hard = {"cheap": (0.0, 0.001), "dear": (0.9, 0.01)}
    given = [LabelledRow("acme", "cheap", 1.0, 0.001, 1.0, 1.0, easy)] * FEWEST_ROWS
    given += [LabelledRow("acme", "dear", 0.9, 0.01, 1.0, 1.0, hard)] * FEWEST_ROWS
    comparison = found(given)
    assert comparison.best == "dear"
    assert comparison.qnc == pytest.approx(0.55)
    assert comparison.peak_score == pytest.approx(0.95)
    assert comparison.routed.score == pytest.approx(0.95)
    assert 0.5 < comparison.nauc < 0.95


def test_a_router_that_never_reaches_the_best_single_has_no_qnc() -> None:
    wrong = {"cheap": (0.9, 0.001), "dear": (0.8, 0.01)}
    given = [LabelledRow("acme", "cheap", 0.0, 0.001, 0.5, 1.0, wrong)] * FEWEST_ROWS
    given += [LabelledRow("acme", "dear", 1.0, 0.01, 0.5, 1.0, wrong)] * FEWEST_ROWS
    assert found(given).qnc is None


def test_a_candidate_that_was_drawn_a_few_times_is_not_judged_by_them() -> None:
    given = [row for row in rows(1_000, 3) if row.candidate != "dear"]
    lucky = LabelledRow("acme", "dear", 1.0, 0.9, 0.01, 1.0, FORECAST)
    comparison = found([*given, lucky])
    assert comparison.singles["dear"].score == pytest.approx(FORECAST["dear"][0], abs=0.01)
    assert comparison.singles["dear"].cost_usd == pytest.approx(FORECAST["dear"][1])


def test_estimates_of_means_stay_within_their_bounds() -> None:
    for seed in range(50):
        comparison = found(rows(FEWEST_ROWS, seed, (0.9, 0.05, 0.05)))
        for point in comparison.singles.values():
            assert 0 <= point.score <= 1
            assert point.cost_usd > 0
        assert comparison.qnc is None or comparison.qnc > 0


def test_too_few_rows_say_nothing() -> None:
    assert compare(rows(FEWEST_ROWS - 1, 0)) is None
    unrouted = [LabelledRow("acme", "cheap", 1.0, 0.002, 1.0, 1.0, {})] * FEWEST_ROWS
    assert compare(unrouted) is None


class Rows:
    """Implements `LabelledRows`; the first time there is nothing to be had."""

    def __init__(self, given: Sequence[LabelledRow]) -> None:
        self.given = given
        self.asked: list[tuple[float, int]] = []

    def labelled_rows(self, since: float, limit: int) -> Sequence[LabelledRow]:
        self.asked.append((since, limit))
        if len(self.asked) == 1:
            raise OSError("no rows yet")
        return self.given


def test_gauges_show_all_tenants_together_and_those_with_labels_enough() -> None:
    async def scenario() -> None:
        metrics, faults = Metrics(), []
        source = Rows([*rows(200, 1), *rows(100, 2, tenant="bravo"), *rows(3, 3, tenant="charlie")])
        gauges = ComparisonGauges(metrics, source, report=lambda where, _: faults.append(where), clock=lambda: 1e6)
        task = asyncio.ensure_future(gauges.refresh_for_ever(every_s=0.001))
        while b"loupe_policy_score{" not in metrics.render():
            await asyncio.sleep(0.001)
        task.cancel()
        samples = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for each in text_string_to_metric_families(metrics.render().decode())
            for sample in each.samples
        }
        tenants = {dict(labels)["tenant"] for name, *labels in samples if name == "loupe_policy_score"}
        assert tenants == {ALL, "acme", "bravo"}
        assert samples["loupe_comparison_labelled_rows", ("tenant", ALL)] == 303
        assert samples["loupe_comparison_explored_rows", ("tenant", "bravo")] == 100
        policies = {dict(labels)["policy"] for name, *labels in samples if name == "loupe_policy_cost_usd"}
        assert policies == {"routed", "best_single", "cheapest", "dearest"}
        singles = {dict(labels)["candidate"] for name, *labels in samples if name == "loupe_single_score"}
        assert singles == set(NAMES)
        assert faults == ["comparison"]
        assert source.asked[0][0] == 1e6 - 86_400

    asyncio.run(scenario())
