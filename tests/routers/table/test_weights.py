"""Cells that do not count alike: what weights do to a fit, and how they are brought to a scale to learn by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routers.registry import ALGORITHMS, FIT_BY_WEIGHTS
from routers.table.outcome_table import OutcomeTable
from routers.table.weights import mean_square, to_learn_from
from tests.fakes.synthetic import drawn_table

NEXT_TO_NOTHING = 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FIT_BY_WEIGHTS))
def test_cells_that_weigh_next_to_nothing_teach_nothing(name: str) -> None:
    table, views = drawn_table()
    score = np.full_like(table.score, 0.9)
    score[1::2, 0] = 0.1  # half of the first candidate's cells say otherwise
    weight = np.where(score == 0.1, NEXT_TO_NOTHING, 1.0)
    fit = ALGORITHMS[name].fit
    weighed = fit(replace(table, score=score, weight=weight), views).forecast(views).quality
    alike = fit(replace(table, score=score), views).forecast(views).quality
    assert weighed[:, 0].mean() == pytest.approx(0.9, abs=0.04)
    assert alike[:, 0].mean() == pytest.approx(0.5, abs=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FIT_BY_WEIGHTS))
def test_equal_weights_are_no_weights(name: str) -> None:
    table, views = drawn_table(groups=20)
    fit = ALGORITHMS[name].fit
    plain = fit(table, views).forecast(views).quality
    weighed = fit(replace(table, weight=np.ones_like(table.score)), views).forecast(views).quality
    np.testing.assert_array_equal(weighed, plain)


def weighed(weight: np.ndarray, source: np.ndarray | None = None) -> OutcomeTable:
    table, _ = drawn_table(groups=2, candidates=2)
    return replace(table, weight=weight, source=source)


def test_weights_alike_are_left_out() -> None:
    assert to_learn_from(weighed(np.full((8, 2), 4.0))).weight is None
    table, _ = drawn_table(groups=2)
    assert to_learn_from(table).weight is None


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_cells_of_a_candidate_count_together_for_what_they_know(power: float) -> None:
    weight = np.array([[1.0, 2.0]] * 6 + [[100.0, 2.0]] * 2)
    found = to_learn_from(weighed(weight), power).weights
    flat = weight[:, 0] ** power
    assert found[:, 0].sum() == pytest.approx(flat.sum() ** 2 / (flat**2).sum())
    assert found[6, 0] / found[0, 0] == pytest.approx(100**power)
    np.testing.assert_allclose(found[:, 1], 1.0)


def test_dear_cells_of_one_source_do_not_belittle_those_of_another() -> None:
    weight = np.array([[1.0, 1.0]] * 6 + [[100.0, 1.0]] * 2)
    source = np.array([["offline"] * 2] * 6 + [["feedback"] * 2] * 2)
    np.testing.assert_allclose(to_learn_from(weighed(weight, source)).weights, 1.0)


def test_power_0_makes_all_alike_and_what_weighs_nothing_stays_so() -> None:
    weight = np.array([[0.0, 1.0]] + [[3.0, 9.0]] * 7)
    found = to_learn_from(weighed(weight), 0.0).weights
    assert found[0, 0] == 0.0
    np.testing.assert_allclose(found[1:], 1.0)
    with pytest.raises(ValueError, match=r"not to 1\.5"):
        to_learn_from(weighed(weight), 1.5)


def test_mean_square_counts_cells_by_their_weights() -> None:
    truth = np.array([[0.0, np.nan], [1.0, 1.0]])
    forecasts = np.zeros((3, 2, 2))
    np.testing.assert_allclose(mean_square(forecasts, truth), [2 / 3] * 3)
    weights = np.array([[6.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(mean_square(forecasts, truth, weights), [1 / 4] * 3)
