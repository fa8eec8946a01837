"""Factors of candidates in the MLP's latent space: better than the means on groups it did not see."""

from __future__ import annotations

import numpy as np

from routers.algorithms.neural import MLPMF
from routers.evaluation.metrics import log_loss
from routers.table.split import grouped_splits
from tests.fakes.synthetic import drawn_table


def test_held_out_forecast_is_better_than_the_means() -> None:
    table, views = drawn_table(groups=150, missing=0.1)
    (split,) = grouped_splits(table.groups, 0.6, [0])
    known, hidden = table.take(split.train), table.take(split.test)
    head = MLPMF.fit(known, {name: rows[split.train] for name, rows in views.items()})
    quality = head.quality({name: rows[split.test] for name, rows in views.items()})
    means = np.tile(np.nanmean(known.score, axis=0), (len(hidden), 1))
    assert log_loss(quality, hidden.score) < 0.95 * log_loss(means, hidden.score)


def test_candidates_differ_by_a_factor_of_the_latent_space_alone() -> None:
    table, views = drawn_table(candidates=12)
    head = MLPMF.fit(table, views)
    quality = head.committee.network.forward(
        {name: values[:1] for name, values in head.committee.parameters.items()},
        tuple(part.astype(np.float32) for part in head.reduced.tokens(views)),
    )[0][0]
    centred = quality - head.committee.parameters["out_bias"][0]
    assert np.linalg.matrix_rank(centred, tol=1e-4 * np.abs(centred).max()) == 8
