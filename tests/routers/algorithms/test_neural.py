"""The three neural heads: each is better than the means on groups that it did not see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from routers.algorithms.linear import Linear
from routers.algorithms.neural import MLP, MLPMF, CrossAttention
from routers.evaluation.metrics import log_loss
from routers.table.split import grouped_splits
from tests.fakes.synthetic import drawn_table


@pytest.mark.parametrize("family", [MLP, MLPMF, pytest.param(CrossAttention, marks=pytest.mark.slow)])
def test_held_out_forecast_is_better_than_the_means(family: Any) -> None:
    table, views = drawn_table(groups=150, missing=0.1)
    (split,) = grouped_splits(table.groups, 0.6, [0])
    known, hidden = table.take(split.train), table.take(split.test)
    head = family.fit(known, {name: rows[split.train] for name, rows in views.items()})
    quality = head.quality({name: rows[split.test] for name, rows in views.items()})
    means = np.tile(np.nanmean(known.score, axis=0), (len(hidden), 1))
    assert log_loss(quality, hidden.score) < 0.95 * log_loss(means, hidden.score)


@pytest.mark.slow
def test_what_no_line_can_tell_is_learned() -> None:
    table, views = drawn_table(groups=200)
    random = np.random.default_rng(4)
    text = np.repeat(random.standard_normal((200, 2)), 4, axis=0).astype(np.float32)
    score = np.repeat((text[:, :1] * text[:, 1:] > 0).astype(np.float64), 4, axis=1)  # exclusive or
    told = dict.fromkeys(views, text)
    crossed, straight = replace(table, score=score), Linear.fit(replace(table, score=score), told)
    assert log_loss(np.clip(straight.quality(told), 0.02, 0.98), score) > 0.65
    assert log_loss(MLP.fit(crossed, told).quality(told), score) < 0.45


def test_candidates_differ_by_a_factor_of_the_latent_space_alone() -> None:
    table, views = drawn_table(candidates=12)
    head = MLPMF.fit(table, views)
    quality = head.committee.network.forward(
        {name: values[:1] for name, values in head.committee.parameters.items()},
        tuple(part.astype(np.float32) for part in head.reduced.tokens(views)),
    )[0][0]
    centred = quality - head.committee.parameters["out_bias"][0]
    assert np.linalg.matrix_rank(centred, tol=1e-4 * np.abs(centred).max()) == 8
