"""KMeans: cluster means, their shrinkage, and the grouped choice of both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routers.algorithms.kmeans import KMeans, KMeansAdaptive
from routers.evaluation.metrics import log_loss
from routers.table.split import grouped_splits
from tests.fakes.synthetic import drawn_table


@pytest.mark.parametrize("family", [KMeans, KMeansAdaptive])
def test_held_out_forecast_is_better_than_the_means(family: type[KMeans]) -> None:
    table, views = drawn_table(groups=150, missing=0.1)
    (split,) = grouped_splits(table.groups, 0.6, [0])
    known, hidden = table.take(split.train), table.take(split.test)
    head = family.fit(known, {name: rows[split.train] for name, rows in views.items()})
    quality = head.quality({name: rows[split.test] for name, rows in views.items()})
    means = np.tile(np.nanmean(known.score, axis=0), (len(hidden), 1))
    assert log_loss(quality, hidden.score) < 0.98 * log_loss(means, hidden.score)


def test_queries_that_tell_nothing_are_forecast_near_the_means() -> None:
    table, views = drawn_table(groups=100)
    noise = {
        name: np.random.default_rng(9).standard_normal(rows.shape).astype(np.float32) for name, rows in views.items()
    }
    quality = KMeans.fit(table, noise).quality(noise)
    means = table.score.mean(axis=0)
    np.testing.assert_allclose(quality.mean(axis=0), means, atol=0.02)
    assert np.sqrt(((quality - means) ** 2).mean()) < 0.05
    told = KMeans.fit(table, views).quality(views)
    assert np.sqrt(((told - means) ** 2).mean()) > 0.1, "what tells something is forecast away from the means"


def test_one_cluster_of_many_like_queries_is_believed() -> None:
    table, views = drawn_table(groups=100)
    kind = np.arange(len(table)) // 4 % 2  # whole groups
    told = {name: (rows * 0.01 + kind[:, None]).astype(np.float32) for name, rows in views.items()}
    score = np.where(kind[:, None] == np.arange(4) % 2, 1.0, 0.0)
    quality = KMeans.fit(replace(table, score=score), told).quality(told)
    assert np.abs(quality - score).max() < 0.1


def test_held_out_forecast_of_a_row_is_not_moved_by_its_own_outcomes() -> None:
    table, views = drawn_table(groups=100)
    _, plain = KMeans.fit_held_out(table, views)
    score = table.score.copy()
    score[:4] = 1 - score[:4]  # the first group
    head, changed = KMeans.fit_held_out(replace(table, score=score), views)
    assert head.settings == KMeans.fit(table, views).settings
    np.testing.assert_array_equal(changed[:4], plain[:4])
    assert (changed[4:] != plain[4:]).any()


def test_centres_of_another_width_are_refused() -> None:
    table, views = drawn_table()
    head = KMeans.fit(table, views)
    with pytest.raises(ValueError, match="centres"):
        KMeans.restore(head.settings, {**head.arrays(), "centres": head.centres[:, 1:]}, head.view_dims)
