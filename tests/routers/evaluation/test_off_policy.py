"""What another policy would have earned is told from a log, and how surely."""

from __future__ import annotations

import math

import numpy as np
import pytest

from routers.evaluation.off_policy import corrected, doubly_robust, importance, ips, snips

PROPENSITY = np.array([0.5, 0.25, 0.25, 1.0])
TARGET = np.array([1.0, 1.0, 0.0, 0.5])
REWARDS = np.array([1.0, 0.5, 1.0, 0.0])
WEIGHTS = np.array([2.0, 4.0, 0.0, 0.5])


def test_a_weight_is_the_ratio_of_the_two_policies_over_the_labels_probability() -> None:
    assert importance(TARGET, PROPENSITY).tolist() == WEIGHTS.tolist()
    assert importance(TARGET, PROPENSITY, 0.5).tolist() == (2 * WEIGHTS).tolist()
    assert importance(TARGET, PROPENSITY, np.array([1, 0.5, 1, 1])).tolist() == [2, 8, 0, 0.5]


@pytest.mark.parametrize(
    ("target", "propensity"), [([1.0], [0.0]), ([1.0], [math.nan]), ([-0.1], [0.5]), ([math.inf], [0.5])]
)
def test_odds_that_are_none_are_refused(target: list[float], propensity: list[float]) -> None:
    with pytest.raises(ValueError, match="over 0"):
        importance(np.array(target), np.array(propensity))


def test_estimates_are_those_of_the_formulas() -> None:
    terms = np.array([2.0, 2.0, 0.0, 0.0])
    assert ips(REWARDS, WEIGHTS).value == 1.0
    assert ips(REWARDS, WEIGHTS).standard_error == pytest.approx(terms.std(ddof=1) / 2)
    assert snips(REWARDS, WEIGHTS).value == pytest.approx(4 / 6.5)
    by_hand = math.sqrt(sum(w * w * (r - 4 / 6.5) ** 2 for w, r in zip(WEIGHTS, REWARDS, strict=True))) / 6.5
    assert snips(REWARDS, WEIGHTS).standard_error == pytest.approx(by_hand)
    predicted, of_target = np.array([0.5, 0.5, 0.5, 0.5]), np.array([0.6, 0.6, 0.6, 0.6])
    assert doubly_robust(REWARDS, WEIGHTS, predicted, of_target).value == pytest.approx(0.6 + (1 + 0 + 0 - 0.25) / 4)
    terms = corrected(REWARDS, WEIGHTS, predicted, of_target)
    assert terms.tolist() == pytest.approx([1.6, 0.6, 0.6, 0.35])
    assert doubly_robust(REWARDS, WEIGHTS, predicted, of_target).value == pytest.approx(terms.mean())
    assert ips(REWARDS, WEIGHTS).effective == pytest.approx(6.5**2 / 20.25)


def test_a_perfect_forecast_leaves_only_the_spread_of_the_queries() -> None:
    flat = np.full(4, 0.7)
    found = doubly_robust(flat, WEIGHTS, flat, flat)
    assert (found.value, found.standard_error) == (pytest.approx(0.7), pytest.approx(0, abs=1e-12))


def test_what_says_nothing_has_no_certainty() -> None:
    nothing = np.zeros(3)
    assert math.isnan(snips(nothing, nothing).value)
    assert ips(nothing, nothing).effective == 0
    assert math.isnan(ips(np.ones(1), np.ones(1)).standard_error)
    assert math.isnan(snips(np.ones(1), np.ones(1)).standard_error)


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="rewards and"):
        ips(REWARDS, WEIGHTS[:2])
    with pytest.raises(ValueError, match="rewards and"):
        doubly_robust(REWARDS, WEIGHTS, WEIGHTS, WEIGHTS[:2])
    with pytest.raises(ValueError, match="rewards and"):
        ips(np.zeros(0), np.zeros(0))


def test_all_three_are_right_on_average_over_many_logs() -> None:
    rng = np.random.default_rng(3)
    logging, target, mean = np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.2, 0.7]), np.array([0.2, 0.5, 0.8])
    truth, count, logs = float(target @ mean), 500, 400
    found = []
    for _ in range(logs):
        taken = rng.choice(3, size=count, p=logging)
        rewards = (rng.random(count) < mean[taken]).astype(float)
        labelled = rng.random(count) < 0.5
        weights = np.where(labelled, importance(target[taken], logging[taken], 0.5), 0.0)
        rewards = np.where(labelled, rewards, 0.0)
        guess = np.array([0.3, 0.3, 0.6])
        expected = np.full(count, float(target @ guess))
        robust = doubly_robust(rewards, weights, guess[taken], expected)
        estimates = ips(rewards, weights), snips(rewards, weights), robust
        found.append([number for each in estimates for number in (each.value, each.standard_error)])
    table = np.array(found)
    for column in (0, 2, 4):
        values, errors = table[:, column], table[:, column + 1]
        assert abs(values.mean() - truth) < 4 * values.std() / math.sqrt(logs)
        assert errors.mean() == pytest.approx(values.std(), rel=0.1)  # the standard error is what it says
    assert table[:, 4].std() < table[:, 0].std()
