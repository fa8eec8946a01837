"""Outcomes of a kind of query are carried to its like, the further the more of them there are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routers.algorithms.cluster_prior import LEVELS, Prior
from routers.base import Floats, Views
from routers.table.outcome_table import OutcomeTable
from tests.fakes.synthetic import drawn_table

KINDS = 3
CHANCES = np.array([[0.9, 0.2], [0.5, 0.5], [0.1, 0.8]])
"""Of each kind of query (row), for each candidate."""


def kinds_table(groups: int = 90) -> tuple[OutcomeTable, Views, Floats]:
    """Queries of three kinds that lie apart in both views, four a group, and each one's true chances."""
    table, _ = drawn_table(groups, 2)
    random = np.random.default_rng(4)
    kind = np.repeat(np.arange(groups) % KINDS, 4)
    chances = CHANCES[kind]
    near = 0.2 * random.standard_normal((len(table), 6)) + 3 * np.eye(KINDS, 6)[kind]
    views = {name: near.astype(np.float32) for name in ("text", "image_features")}
    return replace(table, score=(random.random(chances.shape) < chances).astype(np.float64)), views, chances


def test_each_kind_is_forecast_what_its_like_got() -> None:
    table, views, chances = kinds_table()
    quality = Prior.fit(table, views).quality(views)
    assert np.abs(quality - chances).mean() < 0.08
    assert (np.argmax(quality, axis=1) == np.argmax(chances, axis=1))[chances[:, 0] != 0.5].all()


def test_forecasts_are_shrunk_towards_the_mean_of_the_candidate() -> None:
    table, views, _ = kinds_table()
    quality, means = Prior.fit(table, views).quality(views), np.nanmean(table.score, axis=0)
    for kind in range(KINDS):
        of_kind = np.arange(len(table)) // 4 % KINDS == kind
        raw = table.score[of_kind].mean(axis=0)
        assert (np.abs(quality[of_kind].mean(axis=0) - means) <= np.abs(raw - means) + 0.02).all()


def test_where_kinds_do_not_matter_everyone_is_forecast_the_mean() -> None:
    table, views, _ = kinds_table()
    random = np.random.default_rng(5)
    blind = replace(table, score=(random.random(table.score.shape) < [0.3, 0.7]).astype(np.float64))
    quality = Prior.fit(blind, views).quality(views)
    assert np.abs(quality - blind.score.mean(axis=0)).max() < 0.12


@pytest.mark.slow
def test_missing_cells_teach_nothing() -> None:
    table, views, chances = kinds_table(180)
    score = table.score.copy()
    score[::2, 0] = np.nan
    quality = Prior.fit(replace(table, score=score), views).quality(views)
    assert np.abs(quality - chances).mean() < 0.08


def test_held_out_forecasts_saw_nothing_of_their_group() -> None:
    table, views, _ = kinds_table()
    _, held_out = Prior.fit_held_out(table, views)
    turned = replace(table, score=np.where(np.array(table.groups)[:, None] == "g7", 1 - table.score, table.score))
    _, again = Prior.fit_held_out(turned, views)
    own = np.array(table.groups) == "g7"
    np.testing.assert_allclose(again[own], held_out[own], atol=1e-12)
    assert np.abs(again[~own] - held_out[~own]).max() > 0


def test_settings_say_what_was_chosen() -> None:
    table, views, _ = kinds_table()
    settings = Prior.fit(table, views).settings
    assert set(settings) == {"temperature", "shared", "own", "levels"}
    assert 1 <= settings["levels"] <= len(LEVELS)


@pytest.mark.parametrize("cut", ["effects", "candidate_means"])
def test_arrays_that_disagree_are_refused(cut: str) -> None:
    table, views, _ = kinds_table()
    head = Prior.fit(table, views)
    arrays = {**head.arrays(), cut: head.arrays()[cut][:-1]}
    with pytest.raises(ValueError, match="effects"):
        Prior.restore(head.settings, arrays, head.view_dims)
