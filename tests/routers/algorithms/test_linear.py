"""The linear router: ridges that share nothing, from observed cells, by a penalty that holds on other groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routers.algorithms.linear import Linear
from routers.evaluation.metrics import log_loss
from routers.features.pca import PcaMap
from routers.table.split import grouped_splits
from tests.fakes.synthetic import drawn_table


def test_held_out_forecast_is_better_than_the_means() -> None:
    table, views = drawn_table(groups=150, missing=0.1)
    (split,) = grouped_splits(table.groups, 0.6, [0])
    known, hidden = table.take(split.train), table.take(split.test)
    head = Linear.fit(known, {name: rows[split.train] for name, rows in views.items()})
    quality = np.clip(head.quality({name: rows[split.test] for name, rows in views.items()}), 0.02, 0.98)
    means = np.tile(np.nanmean(known.score, axis=0), (len(hidden), 1))
    assert log_loss(quality, hidden.score) < 0.95 * log_loss(means, hidden.score)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_fit_solves_each_candidates_normal_equations(missing: float) -> None:
    table, views = drawn_table(missing=missing)
    head = Linear.fit(table, views)
    features = PcaMap.fit(views, wide=512).rows(views)
    for column in range(len(table.candidates)):
        seen = ~np.isnan(table.score[:, column])
        centred = features[seen] - features[seen].mean(axis=0)
        gram = centred.T @ centred + head.settings["ridge"] * np.eye(features.shape[1])
        weights = np.linalg.solve(gram, centred.T @ table.score[seen, column])
        expected = (features - features[seen].mean(axis=0)) @ weights + table.score[seen, column].mean()
        np.testing.assert_allclose(head.quality(views)[:, column], expected, atol=2e-3)


def test_one_candidates_outcomes_move_no_other() -> None:
    table, views = drawn_table()
    score = table.score.copy()
    score[:, 0] = 1 - score[:, 0]
    head = Linear.fit(table, views)
    mirrored = Linear.fit(replace(table, score=score), views)  # mirrored outcomes keep every squared error
    assert mirrored.settings == head.settings
    np.testing.assert_allclose(mirrored.quality(views)[:, 1:], head.quality(views)[:, 1:], atol=1e-6)
    np.testing.assert_allclose(mirrored.quality(views)[:, 0], 1 - head.quality(views)[:, 0], atol=1e-6)


def test_bias_of_another_width_is_refused() -> None:
    table, views = drawn_table()
    head = Linear.fit(table, views)
    with pytest.raises(ValueError, match="bias"):
        Linear.restore(head.settings, {**head.arrays(), "bias": np.zeros(3)}, head.view_dims)
