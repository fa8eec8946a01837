"""Off-policy evaluation: estimates what another policy would have earned from decisions of a logging policy.

A logging policy drew n decisions with known propensities. A decision's weight is target / (logging propensity
x probability of being labelled). A decision without a label has reward 0 and weight 0, and still counts in n.

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
    """An estimate of a policy's mean reward.

    Attributes:
        standard_error: of the mean, over decisions that are independent of each other; NaN for fewer than two.
        effective: the number of equally weighted decisions that tell as much (Kish); small where the two policies
            have little in common.
    """

    value: float
    standard_error: float
    effective: float


def importance(target: Floats, propensity: Floats, label_probability: Floats | float = 1.0) -> Floats:
    """Return [n] weights; `target` is the probability with which the judged policy makes the logged choice.

    Raises ValueError where a logged choice has no propensity, because nothing can be estimated from it.
    """
    odds = np.asarray(propensity, dtype=np.float64) * label_probability
    if not (odds > 0).all() or not np.isfinite(target).all() or (np.asarray(target) < 0).any():
        raise ValueError("propensities and label probabilities are over 0, a policy's probabilities 0 or more")
    return np.asarray(target / odds, dtype=np.float64)


def ips(rewards: Floats, weights: Floats) -> Estimate:
    """Estimate by inverse propensity scoring: unbiased, with a large variance where weights are large. [n] each."""
    _refuse_unequal(rewards, weights)
    return _mean_of(weights * rewards, weights)


def snips(rewards: Floats, weights: Floats) -> Estimate:
    """Estimate as `ips`, divided by the sum of weights: slightly biased, less variance, always in the rewards' range.

    The standard error is that of the delta method. NaN where no decision has any weight.
    """
    _refuse_unequal(rewards, weights)
    total = float(weights.sum())
    if total <= 0:
        return Estimate(math.nan, math.nan, 0.0)
    value = float((weights * rewards).sum()) / total
    deviation = math.sqrt(float((weights**2 * (rewards - value) ** 2).sum())) / total
    return Estimate(value, deviation if len(rewards) > 1 else math.nan, _effective(weights))


def doubly_robust(rewards: Floats, weights: Floats, predicted: Floats, predicted_of_target: Floats) -> Estimate:
    """Estimate by forecasts, corrected by their observed errors: unbiased as IPS; better forecasts give less variance.

    `predicted` [n] is the forecast reward of the logged choice, `predicted_of_target` [n] the expected forecast reward
    of the judged policy's choice. Forecasts must not have been learned from these rewards. Where a row has no label,
    its entry of `weights` is 0.
    """
    for values in (weights, predicted, predicted_of_target):
        _refuse_unequal(rewards, values)
    return _mean_of(corrected(rewards, weights, predicted, predicted_of_target), weights)


def corrected(rewards: Floats, weights: Floats, predicted: Floats, predicted_of_target: Floats) -> Floats:
    """Return the terms of the doubly robust estimate: forecasts, each with its correction. All arrays have one shape.

    The reward of an unobserved choice may be any finite number, because its weight is 0.
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
