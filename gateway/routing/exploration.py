"""Exploration: now and then another candidate than the best, with a probability that is known exactly.

Inverse-gap weighting (Foster & Rakhlin, "Beyond UCB: Optimal and Efficient Contextual Bandits with Regression
Oracles", ICML 2020; after Abe & Long 1999) over a safe set: a candidate whose score lies a gap below the best is
drawn with probability 1 / (mu + gamma * gap), the best with what is left. mu is the size of the safe set or more,
so the best is always drawn most often. Weighed by their propensities, outcomes tell what another policy would have
earned.

Rule: nothing is drawn here. The uniform number comes in as an argument and is logged with the propensities, so that
a decision can be replayed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gateway.billing.window import Window
from gateway.routing.decision import Assessment, Decision
from gateway.tenants.policy import ExplorationSettings

WINDOW = "exploration"
"""The part of a ledger window's name that says the money in it is exploration's."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """What was drawn, and all it takes to draw it again.

    Attributes:
        propensities: candidate -> probability, of every candidate that could have been drawn; they sum to 1.
        uniform: the number in [0, 1) that drew.
        candidate: the one drawn.
        best: the one that would have served otherwise.
    """

    propensities: tuple[tuple[str, float], ...]
    uniform: float
    candidate: str
    best: str

    @property
    def explores(self) -> bool:
        """Whether another than the best was drawn: its cost then counts in exploration's own window, too."""
        return self.candidate != self.best


def window_key(tenant: str, period_key: str) -> str:
    """The name of exploration's window beside the tenant's own (`day/2026-01-05T00:00`)."""
    return f"{tenant}/{WINDOW}/{period_key}"


def exploration_windows(windows: Iterable[Window], budget_share: float) -> tuple[Window, ...]:
    """Exploration's own beside each hard window of money: its share of that one's limit."""
    return tuple(
        replace(
            window,
            key=_beside(window.key),
            limit=int(window.limit * budget_share),
            earlier=tuple(map(_beside, window.earlier)),
            separate=True,
        )
        for window in windows
        if window.unit == "usd" and not window.soft
    )


def _beside(key: str) -> str:
    tenant, _, period_key = key.partition("/")
    return window_key(tenant, period_key)


def explore(
    decision: Decision, settings: ExplorationSettings, allowance: int, uniform: float
) -> tuple[Decision, Exploration | None]:
    """Draw who serves. The drawn choice moves to the front, the others keep their order behind it.

    `allowance` is what is left in exploration's window, nanodollars: nothing is safe whose ceiling is over it.
    `uniform` lies in [0, 1). None where there was nothing to draw: no forecasts, or nobody safe beside the best.
    The propensity is that of the first choice; where a later one serves, the outcome must not be weighed by it.
    """
    choices = decision.choices
    safe = safe_set(choices, settings, allowance)
    if len(safe) < 2 or settings.rate <= 0:
        return decision, None
    weights = inverse_gap_weights([choices[place].score for place in safe], settings.gamma, settings.rate)
    drawn = draw(weights, uniform)
    first = choices[safe[drawn]]
    rest = tuple(row for row in choices if row is not first)
    explored = Exploration(
        propensities=tuple((choices[place].candidate.name, p) for place, p in zip(safe, weights, strict=True)),
        uniform=uniform,
        candidate=first.candidate.name,
        best=choices[0].candidate.name,
    )
    return decision._replace(choices=(first, *rest), propensity=weights[drawn]), explored


def safe_set(choices: Sequence[Assessment], settings: ExplorationSettings, allowance: int) -> list[int]:
    """Places of the choices that may be drawn, the best (the first) among them.

    Choices are within the request's cap already. Safe is who is forecast within `slack` of the best's quality, and
    whose ceiling fits `allowance`.
    """
    if not choices or choices[0].forecast is None:
        return []
    least = choices[0].forecast.quality - settings.slack
    safe = [0]
    for place, row in enumerate(choices[1:], start=1):
        forecast = row.forecast
        if forecast is None or row.max_cost > allowance:
            continue
        if forecast.quality + settings.optimism * forecast.quality_std >= least:
            safe.append(place)
    return safe


def inverse_gap_weights(scores: Sequence[float], gamma: float, rate: float = 1.0) -> list[float]:
    """Probabilities of K >= 1 scores, the best first: 1 / (mu + gamma * gap), and the best what is left.

    mu = max(K, (K - 1) / rate) keeps all others together at `rate` or less; rate > 0. They sum to 1, and each is > 0.
    """
    others = len(scores) - 1
    least = max(len(scores), others / rate)
    weights = [1 / (least + gamma * max(scores[0] - score, 0.0)) for score in scores[1:]]
    return [1 - math.fsum(weights), *weights]


def draw(propensities: Sequence[float], uniform: float) -> int:
    """The place that a uniform number in [0, 1) draws; deterministic. Raises ValueError outside of that."""
    if not 0 <= uniform < 1:
        raise ValueError(f"{uniform} does not lie in [0, 1)")
    reached = 0.0
    for place, propensity in enumerate(propensities):
        reached += propensity
        if uniform < reached:
            return place
    return max(place for place, propensity in enumerate(propensities) if propensity > 0)  # rounding at the very end
