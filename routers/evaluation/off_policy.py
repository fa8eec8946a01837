"""Off-policy evaluation: what another policy would have earned, told from what a logging policy drew.

n decisions were drawn by a logging policy with known propensities; a decision's weight is target / (logging propensity
x probability of being labelled). One without a label has reward 0 and weight 0, and still counts as one of the n.

IPS: Horvitz & Thompson, JASA 1952. SNIPS: Swaminathan & Joachims, "The Self-Normalized Estimator for Counterfactual
Learning", NeurIPS 2015. DR: Dudik, Langford & Li, "Doubly Robust Policy Evaluation and Learning", ICML 2011.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from routers.base import Floats


@dataclass(frozen=True, slots=True)
class Estimate:
    """A policy's mean reward.

    Attributes:
        standard_error: of the mean, over decisions that are independent of each other; NaN for fewer than two.
        effective: how many equally weighted decisions say as much (Kish): few where the policies have little in common.
    """

    value: float
    standard_error: float
    effective: float


def importance(target: Floats, propensity: Floats, label_probability: Floats | float = 1.0) -> Floats:
    """[n] weights: `target` is the probability with which the policy to judge takes what was taken.

    Raises ValueError where something was taken that had no propensity: nothing can be told from it.
    """
    odds = np.asarray(propensity, dtype=np.float64) * label_probability
    if not (odds > 0).all() or not np.isfinite(target).all() or (np.asarray(target) < 0).any():
        raise ValueError("propensities and label probabilities are over 0, a policy's probabilities 0 or more")
    return np.asarray(target / odds, dtype=np.float64)


def ips(rewards: Floats, weights: Floats) -> Estimate:
    """Inverse propensity scoring: unbiased, and of much variance where weights are large. [n] each."""
    _refuse_unequal(rewards, weights)
    return _mean_of(weights * rewards, weights)


def snips(rewards: Floats, weights: Floats) -> Estimate:
    """The same over the sum of weights: slightly biased, steadier, and never out of the rewards' range.

    Its standard error is the delta method's. NaN where no decision has any weight.
    """
    _refuse_unequal(rewards, weights)
    total = float(weights.sum())
    if total <= 0:
        return Estimate(math.nan, math.nan, 0.0)
    value = float((weights * rewards).sum()) / total
    deviation = math.sqrt(float((weights**2 * (rewards - value) ** 2).sum())) / total
    return Estimate(value, deviation if len(rewards) > 1 else math.nan, _effective(weights))


def doubly_robust(rewards: Floats, weights: Floats, predicted: Floats, predicted_of_target: Floats) -> Estimate:
    """A forecast, corrected where it was seen to be wrong: unbiased as IPS, of less variance the better it forecasts.

    `predicted` [n] is what is forecast of what was taken, `predicted_of_target` [n] of what the policy to judge takes,
    in expectation. Forecasts must not have been learned from these rewards. With labels of some rows only, `weights`
    are 0 where there is none.
    """
    for values in (weights, predicted, predicted_of_target):
        _refuse_unequal(rewards, values)
    return _mean_of(corrected(rewards, weights, predicted, predicted_of_target), weights)


def corrected(rewards: Floats, weights: Floats, predicted: Floats, predicted_of_target: Floats) -> Floats:
    """[...] each: the terms of the doubly robust estimate, forecasts with their own corrections. Of what is not seen a
    reward may be anything finite: its weight is 0.
    """
    return predicted_of_target + weights * (rewards - predicted)


def _mean_of(terms: Floats, weights: Floats) -> Estimate:
    count = len(terms)
    deviation = float(np.std(terms, ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    return Estimate(float(terms.mean()), deviation, _effective(weights))


def _effective(weights: Floats) -> float:
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def _refuse_unequal(rewards: Floats, values: Floats) -> None:
    if rewards.ndim != 1 or rewards.shape != values.shape or not len(rewards):
        raise ValueError(f"{rewards.shape} rewards and {values.shape} numbers: [n] each, n of 1 or more, is expected")
