"""What logged outcomes tell of policies that did not choose them."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import pytest

from routers.base import Floats
from routers.logged import Logged, logged_singles, measure_for, on_offer
from routers.metrics import single_points
from routers.protocol import Shared
from routers.table import OutcomeTable, merge
from tests.routers.logged_table import logged
from tests.routers.synthetic import drawn_table


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
        worths = [measure.worth(measure.decide(quality, cost, table), table, rows) for measure in (Shared(), Logged())]
        assert astuple(worths[1]) == pytest.approx(astuple(worths[0]))
        found, expected = logged_singles(table, rows), single_points(table.score, table.cost_usd, rows)
        np.testing.assert_allclose(found.scores, expected.scores)
        np.testing.assert_allclose(found.costs, expected.costs)


def test_logged_outcomes_tell_the_worth_that_all_outcomes_would() -> None:
    table, _ = drawn_table(groups=500)
    quality, cost = forecasts(table)
    truth = Shared().worth(Shared().decide(quality, cost, table), table)
    propensities = np.random.default_rng(3).dirichlet([4.0] * 4, len(table))
    found = []
    for seed in range(20):
        seen = logged(table, propensities, seed, labelled=0.7)
        found.append(Logged().worth(Logged().decide(quality, cost, seen), seen))
    for name in ("nauc", "accuracy"):
        values = np.array([getattr(worth, name) for worth in found])
        error = values.std(ddof=1) / np.sqrt(len(values))
        # A maximum over noisy points is a little high: no more than that is allowed for.
        assert values.mean() == pytest.approx(getattr(truth, name), abs=2.5 * error + 0.015)


def test_a_logging_policy_that_favours_some_does_not_favour_their_singles() -> None:
    table, _ = drawn_table(groups=2000)
    propensities = np.tile([0.85, 0.05, 0.05, 0.05], (len(table), 1))
    found = logged_singles(logged(table, propensities, 4))
    np.testing.assert_allclose(found.scores, table.score.mean(axis=0), atol=0.06)


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
    assert isinstance(measure_for(table), Logged)
    assert not isinstance(measure_for(drawn_table()[0]), Logged)


def test_a_point_of_which_hardly_a_cell_tells_is_left_out() -> None:
    table, _ = drawn_table(groups=50)
    propensities = np.tile([0.97, 0.01, 0.01, 0.01], (len(table), 1))
    seen = logged(table, propensities, 6)
    nobody = np.tile([0.1, 0.2, 0.3, 0.9], (len(table), 1))
    cost = np.tile([4.0, 3.0, 2.0, 1.0], (len(table), 1))
    frontier = Logged().decide(nobody, cost, seen).frontier()
    assert len(frontier.scores) >= 1
    assert np.isfinite(frontier.scores).all()
