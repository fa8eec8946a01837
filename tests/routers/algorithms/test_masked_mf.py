"""Candidate factors are learned from observed cells, also between candidates that never met on a query."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routers.algorithms.masked_mf import MaskedMF, MaskedMFOptions, alternate
from routers.base import Floats
from tests.fakes.synthetic import drawn_table

PATH = MaskedMFOptions(ridges=(1.0,), sweeps=6)
NARROW = MaskedMFOptions(ridges=(300.0,), sweeps=10, rank=2)


def planted(rows: int = 400, *, noise: float = 0.05) -> tuple[Floats, Floats]:
    """Features, and outcomes of four candidates: two twins and their two opposites."""
    random = np.random.default_rng(10)
    features = random.standard_normal((rows, 6))
    bent = np.outer(random.standard_normal(6), [1.0, -1.0, 1.0, -1.0]) / 3
    return features, 0.5 + features @ bent + noise * random.standard_normal((rows, 4))


def parted(outcomes: Floats) -> Floats:
    """As two tables see it: the first pair on the first half of rows, the second pair on the rest."""
    seen = outcomes.copy()
    seen[len(seen) // 2 :, :2] = np.nan
    seen[: len(seen) // 2, 2:] = np.nan
    return seen


def likeness(factors: Floats, one: int, other: int) -> float:
    return float(factors[one] @ factors[other] / np.linalg.norm(factors[one]) / np.linalg.norm(factors[other]))


def test_outcomes_of_low_rank_are_found_again() -> None:
    features, outcomes = planted()
    *_, found = alternate(features, outcomes, 1.0, PATH)
    assert np.sqrt(np.mean((found.apply(features) - outcomes) ** 2)) < 0.06


def test_cells_that_nobody_observed_are_forecast() -> None:
    features, outcomes = planted()
    *_, found = alternate(features, parted(outcomes), 1.0, PATH)
    hidden = np.isnan(parted(outcomes))
    assert np.sqrt(np.mean((found.apply(features) - outcomes)[hidden] ** 2)) < 0.1


def test_candidates_that_never_met_are_found_alike_by_what_they_are_good_at() -> None:
    features, outcomes = planted()
    crossed = outcomes[:, [0, 1, 3, 2]]  # now the last is the first one's twin, which no covariance can tell
    for seen, twin, opposite in ((outcomes, 2, 3), (crossed, 3, 2)):
        *_, learned = alternate(features, parted(seen), 10.0, NARROW)
        assert likeness(learned.factors, 0, twin) > 0.9
        assert likeness(learned.factors, 0, opposite) < -0.9
    *_, held = alternate(features, parted(crossed), 1e9, NARROW)
    assert likeness(held.factors, 0, 3) < 0


def test_held_fast_factors_stay_where_they_began() -> None:
    features, outcomes = planted()
    *_, few = alternate(features, outcomes, 1e9, replace(PATH, sweeps=1))
    *_, many = alternate(features, outcomes, 1e9, replace(PATH, sweeps=8))
    np.testing.assert_allclose(many.factors, few.factors, atol=1e-6)


def test_values_in_missing_cells_can_not_matter() -> None:
    features, outcomes = planted()
    *_, once = alternate(features, parted(outcomes), 10.0, PATH)
    *_, again = alternate(features, parted(outcomes + np.isnan(parted(outcomes)) * 9.0), 10.0, PATH)
    np.testing.assert_array_equal(again.factors, once.factors)


def test_one_factorisation_comes_for_each_ridge_and_stronger_ones_are_flatter() -> None:
    features, outcomes = planted()
    strong, weak = alternate(features, outcomes, 10.0, replace(PATH, ridges=(1e5, 1.0)))
    assert strong.apply(features).std(axis=0).max() < 0.1 * weak.apply(features).std(axis=0).min()


def test_settings_say_what_was_chosen() -> None:
    table, views = drawn_table()
    settings = MaskedMF.fit(table, views).settings
    assert settings["chosen_ridge"] in settings["ridges"]
    assert settings["chosen_hold"] in settings["holds"]


@pytest.mark.parametrize("cut", ["bias", "latent"])
def test_arrays_that_disagree_are_refused(cut: str) -> None:
    table, views = drawn_table()
    head = MaskedMF.fit(table, views)
    arrays = {**head.arrays(), cut: head.arrays()[cut][:-1]}
    with pytest.raises(ValueError, match=cut):
        MaskedMF.restore(head.settings, arrays, head.view_dims)
