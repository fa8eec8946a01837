"""Committees of networks: what they learn, from what, and what their held-out forecasts have not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routers.evaluation.metrics import log_loss
from routers.numeric.cross_fitting import CrossFitResult, CrossFitSettings, CrossFittedNetworks, school
from routers.numeric.feed_forward import FeedForward, Layer
from routers.table.outcome_table import OutcomeTable
from routers.table.split import grouped_folds
from tests.fakes.synthetic import Drawn, drawn_table

BRIEF = CrossFitSettings(decays=(0.3, 3.0), folds=3, epochs=8)


def schooled(table: OutcomeTable, views: Drawn, schooling: CrossFitSettings = BRIEF, seed: int = 0) -> CrossFitResult:
    return school(_network(table, views), (8 * views["text"],), table, schooling, seed=seed)


def _network(table: OutcomeTable, views: Drawn) -> FeedForward:
    outputs = Layer("out", len(table.candidates), bends=False)
    return FeedForward(views["text"].shape[1], (Layer("hidden", 16), outputs))


def test_held_out_forecast_is_better_than_the_means() -> None:
    table, views = drawn_table(groups=150, missing=0.2)
    found = schooled(table, views)
    means = np.tile(np.nanmean(table.score, axis=0), (len(table), 1))
    assert log_loss(found.held_out, table.score) < 0.95 * log_loss(means, table.score)
    assert log_loss(found.committee.quality([8 * views["text"]]), table.score) < log_loss(found.held_out, table.score)


def test_held_out_forecast_of_a_group_is_not_taught_by_its_outcomes() -> None:
    table, views = drawn_table()
    one = CrossFitSettings(decays=(1.0,), folds=3, epochs=3, patience=9)
    (first, *_) = grouped_folds(table.groups, 3, 0)
    score = table.score.copy()
    score[first.test[:1]] = 1 - score[first.test[:1]]  # so little that the same epoch stays the best
    plain, changed = schooled(table, views, one), schooled(replace(table, score=score), views, one)
    assert changed.chosen == plain.chosen
    np.testing.assert_array_equal(changed.held_out[first.test], plain.held_out[first.test])
    assert (np.delete(changed.held_out, first.test, axis=0) != np.delete(plain.held_out, first.test, axis=0)).all()


def test_order_of_rows_changes_nothing_but_rounding() -> None:
    table, views = drawn_table(missing=0.2)
    order = np.random.default_rng(5).permutation(len(table))
    turned = {name: rows[order] for name, rows in views.items()}
    plain, shuffled = schooled(table, views), schooled(table.take(order), turned)
    np.testing.assert_allclose(shuffled.held_out, plain.held_out[order], atol=1e-3)


def test_noise_is_forgotten_under_the_strongest_decay() -> None:
    table, views = drawn_table(groups=100)
    noise = {
        name: np.random.default_rng(9).standard_normal(rows.shape).astype(np.float32) for name, rows in views.items()
    }
    found = schooled(table, noise, CrossFitSettings(decays=(1.0, 30.0), folds=3, epochs=8))
    assert found.chosen["decay"] == 30.0
    np.testing.assert_allclose(
        found.committee.quality([8 * noise["text"]]), np.tile(table.score.mean(axis=0), (len(table), 1)), atol=0.1
    )


def test_there_is_one_member_a_fold() -> None:
    table, views = drawn_table()
    found = schooled(table, views)
    assert found.chosen["members"] == 3
    assert found.committee.parameters["hidden_weights"].shape == (3, 12, 16)


def test_parameters_of_another_shape_are_refused() -> None:
    table, views = drawn_table()
    parameters = schooled(table, views).committee.parameters
    with pytest.raises(ValueError, match="hidden_bias"):
        CrossFittedNetworks.restore(_network(table, views), {**parameters, "hidden_bias": np.zeros((3, 2))})
