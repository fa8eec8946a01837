"""The bootstrap over groups: what is drawn, what is weighed, and what the interval covers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routers.base import Forecast
from routers.evaluation.bootstrap import FIGURES, Resamples, interval, rejudge
from routers.evaluation.judge import Policy, judge
from routers.evaluation.paper_protocol import Paper
from routers.evaluation.protocol import Measure, SharedSweep
from routers.table.outcome_table import OutcomeTable
from tests.fakes.synthetic import drawn_table


def policy_of(table: OutcomeTable, measure: Measure, seed: int = 0) -> Policy:
    noise = np.random.default_rng(seed).normal(0, 0.3, table.score.shape)
    quality = np.clip(0.3 + 0.4 * np.nan_to_num(table.score) + noise, 0, 1)
    tokens = np.full(table.score.shape, 60.0)
    forecast = Forecast(quality, np.zeros_like(quality), tokens, tokens)
    expected = np.tile(np.nanmean(table.cost_usd, axis=0), (len(table), 1))
    return Policy("drawn", measure.decide(quality, expected, table), forecast)


def test_whole_groups_are_drawn() -> None:
    resamples = Resamples.draw(["a", "b", "a", "c"], 50, seed=1)
    weights = resamples.weights(["a", "c", "a", "b"])
    assert resamples.names == ("a", "b", "c")
    assert (resamples.counts.sum(axis=1) == 3).all()
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] + weights[:, 1] + weights[:, 3] == 3).all()
    assert len(np.unique(weights, axis=0)) > 3
    with pytest.raises(KeyError):
        resamples.weights(["d"])


def test_the_same_seed_draws_the_same() -> None:
    first, again, other = (Resamples.draw(list("abcdef"), 20, seed).counts for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("measure", [SharedSweep(), Paper()], ids=lambda measure: measure.name)
def test_weights_of_one_give_the_figures_themselves(measure: Measure) -> None:
    table, _ = drawn_table(groups=30)
    policy = policy_of(table, measure)
    once = rejudge(policy, table, measure, np.ones((1, len(table))))[0]
    found = judge(policy, table, measure)
    for place, name in enumerate(FIGURES):
        assert once[place] == pytest.approx(getattr(found, name), abs=1e-12), name


def test_a_row_that_is_drawn_twice_counts_twice() -> None:
    table, _ = drawn_table(groups=20, missing=0.2)
    weights = np.random.default_rng(5).integers(0, 3, (1, len(table))).astype(float)
    weighed = rejudge(policy_of(table, SharedSweep()), table, SharedSweep(), weights)[0]
    again = np.repeat(np.arange(len(table)), weights[0].astype(int))
    whole = policy_of(table, SharedSweep()).forecast
    assert whole is not None
    repeated = OutcomeTable(
        query_ids=tuple(map(str, range(len(again)))),
        groups=tuple(table.groups[row] for row in again),
        questions=("",) * len(again),
        image_paths=(None,) * len(again),
        candidates=table.candidates,
        score=table.score[again],
        output_tokens=table.output_tokens[again],
        cost_usd=table.cost_usd[again],
    )
    forecast = Forecast(
        whole.quality[again], whole.quality_std[again], whole.output_tokens[again], whole.output_tokens_high[again]
    )
    expected = np.tile(np.nanmean(table.cost_usd, axis=0), (len(again), 1))
    policy = Policy("repeated", SharedSweep().decide(forecast.quality, expected, repeated), forecast)
    found = judge(policy, repeated, SharedSweep())
    np.testing.assert_allclose(weighed, [getattr(found, name) for name in FIGURES], atol=1e-9)


def test_a_draw_without_a_test_row_has_no_figures() -> None:
    table, _ = drawn_table(groups=5)
    found = rejudge(policy_of(table, SharedSweep()), table, SharedSweep(), np.zeros((1, len(table))))
    assert np.isnan(found).all()


def test_what_forecasts_nothing_has_no_truthfulness() -> None:
    table, _ = drawn_table(groups=5)
    oracle = Policy("oracle", SharedSweep().oracle(table, table.cost_usd))
    found = rejudge(oracle, table, SharedSweep(), np.ones((2, len(table))))
    assert np.isfinite(found[:, :2]).all()
    assert np.isnan(found[:, 4:]).all()


def test_the_interval_is_of_percentiles() -> None:
    low, high = interval(np.arange(1001.0))
    assert (low, high) == (25, 975)
    assert interval(np.array([1.0, np.nan])) == (pytest.approx(np.nan, nan_ok=True),) * 2
    assert interval(np.zeros(0)) == (pytest.approx(np.nan, nan_ok=True),) * 2
    assert interval(np.array([1.0] * 90 + [np.inf] * 10)) == (1.0, np.inf)


@pytest.mark.slow
def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Accuracy of one candidate whose groups succeed or fail as one: drawing rows would cover far less."""
    random = np.random.default_rng(11)
    hits = 0
    for trial in range(100):
        table, _ = drawn_table(groups=60, candidates=1, seed=trial)
        together = np.repeat(random.random(60) < 0.5, 4).astype(float)[:, None]
        table = replace(table, score=together)
        quality = np.full(together.shape, 0.5)
        policy = Policy("only", SharedSweep().decide(quality, np.ones_like(quality), table))
        weights = Resamples.draw(table.groups, 100, trial).weights(table.groups)
        low, high = interval(rejudge(policy, table, SharedSweep(), weights)[:, FIGURES.index("accuracy")])
        hits += low <= 0.5 <= high
    assert 85 <= hits <= 99
