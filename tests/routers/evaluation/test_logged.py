"""What logged outcomes tell of policies that did not choose them."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import pytest

from routers.base import Floats
from routers.evaluation.logged import FilledOutcomes, LoggedSweep, measure_for, on_offer
from routers.evaluation.protocol import SharedSweep
from routers.table.outcome_table import OutcomeTable, merge
from tests.fakes.logged_table import logged
from tests.fakes.synthetic import drawn_table


def forecasts(table: OutcomeTable, seed: int = 1) -> tuple[Floats, Floats]:
    """Quality that knows a little of the truth, and expected costs."""
    noise = np.random.default_rng(seed).normal(0, 0.5, table.score.shape)
    cost = np.tile(np.nanmean(table.cost_usd, axis=0), (len(table), 1))
    return np.clip(0.3 + 0.4 * table.score + noise, 0, 1), cost


def test_where_all_is_known_it_is_what_the_shared_protocol_finds() -> None:
    table, _ = drawn_table(missing=0.0)
    quality, cost = forecasts(table)
    weights = np.random.default_rng(2).integers(0, 3, len(table)).astype(np.float64)
    for rows in (None, weights):
        measures = (SharedSweep(), LoggedSweep(filled=FilledOutcomes.of(table, quality)))
        worths = [measure.worth(measure.decide(quality, cost, table), table, rows) for measure in measures]
        assert astuple(worths[1]) == pytest.approx(astuple(worths[0]))


def test_logged_outcomes_tell_the_worth_that_all_outcomes_would() -> None:
    table, _ = drawn_table(groups=500)
    quality, cost = forecasts(table)
    truth = SharedSweep().worth(SharedSweep().decide(quality, cost, table), table)
    propensities = np.random.default_rng(3).dirichlet([4.0] * 4, len(table))
    found = []
    for seed in range(20):
        seen = logged(table, propensities, seed, labelled=0.7)
        measure = measure_for(seen, np.full(quality.shape, 0.2))  # a forecast that is far off
        found.append(measure.worth(measure.decide(quality, cost, seen), seen))
    for name in ("nauc", "accuracy"):
        values = np.array([getattr(worth, name) for worth in found])
        error = values.std(ddof=1) / np.sqrt(len(values))
        # A maximum over noisy points is a little high: no more than that is allowed for.
        assert values.mean() == pytest.approx(getattr(truth, name), abs=2.5 * error + 0.015)


def test_a_logging_policy_that_favours_some_does_not_favour_their_singles() -> None:
    table, _ = drawn_table(groups=2000)
    propensities = np.tile([0.85, 0.05, 0.05, 0.05], (len(table), 1))
    found = FilledOutcomes.of(logged(table, propensities, 4), np.full(table.score.shape, 0.9)).singles
    np.testing.assert_allclose(found.scores, table.score.mean(axis=0), atol=0.06)
    np.testing.assert_allclose(found.costs, table.cost_usd.mean(axis=0), rtol=0.1)


def test_logged_queries_could_have_gone_to_whoever_any_of_them_went_to() -> None:
    table, _ = drawn_table(groups=10)
    offline = table.select(table.candidates[:3])
    online = logged(replace(table, query_ids=tuple(f"o{name}" for name in table.query_ids)), np.full((40, 4), 0.25), 5)
    whole = merge([offline, online])
    offered = on_offer(whole)
    assert offered[:40].all(axis=0).tolist() == [True, True, True, False]
    assert not offered[:40, 3].any()
    assert offered[40:].all()


def test_an_outcome_that_only_happens_to_be_the_only_one_is_no_logged_query() -> None:
    table, _ = drawn_table(missing=0.6)
    np.testing.assert_array_equal(on_offer(table), table.mask)
    assert not isinstance(measure_for(table, table.score), LoggedSweep)


def test_labels_that_come_by_a_chance_nobody_told_change_nothing() -> None:
    table, _ = drawn_table(groups=200)
    predicted = np.full(table.score.shape, 0.3)
    told = logged(table, np.full(table.score.shape, 0.25), 6, labelled=0.1)
    assert told.weight is not None
    untold = replace(told, weight=0.1 * told.weight)
    one, other = (FilledOutcomes.of(each, predicted).singles.scores for each in (told, untold))
    np.testing.assert_allclose(one, other)


def test_what_is_filled_in_is_of_one_table_alone() -> None:
    table, _ = drawn_table(groups=10)
    measure = LoggedSweep(filled=FilledOutcomes.of(table, table.score))
    with pytest.raises(ValueError, match="another table"):
        measure.decide(table.score[:4], table.cost_usd[:4], table.take(range(4)))
