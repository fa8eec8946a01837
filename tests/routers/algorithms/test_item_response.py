"""Abilities and difficulties are found from right and wrong answers, and told apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routers.algorithms.item_response import ItemResponse, Traits, objective
from routers.base import Floats, Views
from routers.table.outcome_table import OutcomeTable
from tests.fakes.synthetic import drawn_table


def answered(groups: int = 150) -> tuple[OutcomeTable, Views, Floats]:
    """Queries whose first direction is how hard they are and whose second favours one candidate over another."""
    table, _ = drawn_table(groups, 3)
    random = np.random.default_rng(6)
    rows = random.standard_normal((len(table), 5))
    logits = np.array([-0.5, 0.5, 1.0]) - 1.5 * rows[:, :1] + rows[:, 1:2] * np.array([1.5, -1.5, 0.0])
    chances = 1 / (1 + np.exp(-logits))
    views = {"text": rows.astype(np.float32), "image_features": random.standard_normal((len(table), 4))}
    score = (random.random(chances.shape) < chances).astype(np.float64)
    return replace(table, score=score), {name: view.astype(np.float32) for name, view in views.items()}, chances


def traits(width: int = 4, candidates: int = 3, dimensions: int = 2) -> Traits:
    random = np.random.default_rng(7)
    return Traits(
        strength=random.standard_normal(candidates),
        ability=random.standard_normal((candidates, dimensions)),
        discrimination=random.standard_normal((width, dimensions)),
        difficulty=random.standard_normal(width),
    )


def test_chances_are_found() -> None:
    table, views, chances = answered()
    quality = ItemResponse.fit(table, views).quality(views)
    assert np.abs(quality - chances).mean() < 0.06


@pytest.mark.slow
def test_harder_queries_are_said_to_be_harder() -> None:
    table, views, _ = answered()
    found = ItemResponse.fit(table, views).difficulty(views)
    assert np.corrcoef(found, views["text"][:, 0])[0, 1] > 0.9


@pytest.mark.slow
def test_stronger_candidates_have_more_strength() -> None:
    table, views, _ = answered()
    assert (np.diff(ItemResponse.fit(table, views).traits.strength) > 0).all()


def test_missing_cells_teach_nothing() -> None:
    table, views, chances = answered()
    score = table.score.copy()
    score[::2, 0] = np.nan
    quality = ItemResponse.fit(replace(table, score=score), views).quality(views)
    assert np.abs(quality - chances).mean() < 0.07


@pytest.mark.slow
def test_scores_between_right_and_wrong_are_learned_as_they_are() -> None:
    table, views, chances = answered()
    quality = ItemResponse.fit(replace(table, score=chances), views).quality(views)
    assert np.abs(quality - chances).mean() < 0.03


@pytest.mark.parametrize(("missing", "weighed"), [(0.0, False), (0.3, False), (0.3, True)])
def test_gradient_is_the_slope_of_the_objective(missing: float, weighed: bool) -> None:
    random = np.random.default_rng(8)
    features, score, at = random.standard_normal((20, 4)), random.random((20, 3)), traits()
    score[random.random(score.shape) < missing] = np.nan
    weights = np.where(np.isnan(score), 0.0, random.random(score.shape)) if weighed else None
    evaluate = objective(features, (score, weights), at, penalty=0.7)
    here, step = at.flat(), 1e-6
    _, slope = evaluate(here)
    for place in range(len(here)):
        shift = step * np.eye(len(here))[place]
        difference = (evaluate(here + shift)[0] - evaluate(here - shift)[0]) / (2 * step)
        assert slope[place] == pytest.approx(difference, abs=1e-5)


def test_flat_traits_take_their_shape_again() -> None:
    at = traits()
    again = at.shaped(at.flat())
    features = np.random.default_rng(9).standard_normal((6, 4))
    np.testing.assert_array_equal(again.logits(features), at.logits(features))


def test_more_dimensions_than_candidates_are_not_taken() -> None:
    table, views, _ = answered(30)
    assert ItemResponse.fit(table, views).traits.ability.shape == (3, 3)


@pytest.mark.parametrize("cut", ["strength", "discrimination", "difficulty"])
def test_arrays_that_disagree_are_refused(cut: str) -> None:
    table, views, _ = answered(30)
    head = ItemResponse.fit(table, views)
    arrays = {**head.arrays(), cut: head.arrays()[cut][:-1]}
    with pytest.raises(ValueError, match=cut):
        ItemResponse.restore(head.settings, arrays, head.view_dims)
