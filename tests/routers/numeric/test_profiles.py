"""Profiles are found where there are outcomes, and expected where there are none."""

from __future__ import annotations

import numpy as np

from routers.base import Floats
from routers.numeric.profiles import ProfilePrior

CLUSTERS = 6


def drawn(candidates: int = 12, rows: int = 600) -> tuple[Floats, Floats, Floats]:
    """Memberships, outcomes and the true profiles: candidates are good at the first half of clusters or the second."""
    random = np.random.default_rng(12)
    members = np.eye(CLUSTERS)[random.integers(CLUSTERS, size=rows)]
    bent = np.where(np.arange(CLUSTERS) < CLUSTERS // 2, 1.0, -1.0)
    profiles = 0.5 + 0.3 * np.outer(bent, random.choice([-1.0, 1.0], candidates))
    profiles += 0.05 * random.standard_normal(candidates)
    return members, members @ profiles + 0.2 * random.standard_normal((rows, candidates)), profiles


def test_profiles_of_many_outcomes_are_found() -> None:
    members, outcomes, profiles = drawn()
    found = ProfilePrior.fit(members, outcomes).posterior(members, outcomes)
    assert np.abs(found.mean - profiles).max() < 0.06
    assert found.std.max() < 0.05


def test_noise_is_learned() -> None:
    members, outcomes, _ = drawn()
    assert 0.035 < ProfilePrior.fit(members, outcomes).noise < 0.05


def test_a_candidate_of_no_outcome_is_expected_to_be_like_the_others() -> None:
    members, outcomes, profiles = drawn()
    prior = ProfilePrior.fit(members, outcomes)
    unseen = prior.posterior(members, np.full((len(members), 1), np.nan))
    np.testing.assert_allclose(unseen.mean[:, 0], prior.mean)
    np.testing.assert_allclose(prior.mean, profiles.mean(axis=1), atol=0.05)
    assert (unseen.std > 0.2).all()


def test_what_a_few_clusters_show_is_carried_to_those_that_go_with_them() -> None:
    members, outcomes, _ = drawn()
    prior = ProfilePrior.fit(members, outcomes)
    few = np.full((len(members), 1), np.nan)
    few[np.flatnonzero(members[:, 0])[:4], 0] = 0.8  # good on the first cluster, and nothing is known of the rest
    found = prior.posterior(members, few)
    assert found.mean[1, 0] > 0.65
    assert found.mean[4, 0] < 0.35
    assert found.std[0, 0] < found.std[4, 0] < 0.25


def test_more_outcomes_make_it_surer_and_a_discount_less_sure() -> None:
    members, outcomes, _ = drawn()
    prior = ProfilePrior.fit(members, outcomes)
    few, many = (prior.posterior(members[:rows], outcomes[:rows]).std for rows in (60, 600))
    assert (many < few).all()
    assert (prior.tempered(4.0).posterior(members, outcomes).std > many).all()


def test_candidates_are_found_alone_as_they_are_together() -> None:
    members, outcomes, _ = drawn()
    outcomes[::3, :4] = np.nan
    prior = ProfilePrior.fit(members, outcomes)
    together = prior.posterior(members, outcomes)
    for column in (0, 7):
        alone = prior.posterior(members, outcomes[:, [column]])
        np.testing.assert_allclose(alone.mean[:, 0], together.mean[:, column], atol=1e-10)
        np.testing.assert_allclose(alone.std[:, 0], together.std[:, column], atol=1e-10)


def test_outcomes_that_never_differ_are_expected_again() -> None:
    members, outcomes, _ = drawn()
    prior = ProfilePrior.fit(members, np.full_like(outcomes, 0.9))
    np.testing.assert_allclose(prior.mean, 0.9, atol=1e-6)
