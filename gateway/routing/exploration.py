"""Exploration: sometimes another candidate than the best serves, with an exactly known probability.

Inverse-gap weighting (Foster & Rakhlin, "Beyond UCB: Optimal and Efficient Contextual Bandits with Regression Oracles",
ICML 2020; after Abe & Long 1999) over a safe set: a candidate whose score lies a gap below the best is drawn with
probability 1 / (mu + gamma * gap), the best with the remaining probability. mu is at least the size of the safe set, so
the best is always drawn most often. Weighted by their propensities, outcomes tell what another policy would have
earned.

Rule: no random number is drawn here. The uniform number comes in as an argument and is logged with the propensities, so
that a decision can be replayed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gateway.billing.window import Window
from gateway.routing.decision import Assessment, Decision
from gateway.tenants.policy import ExplorationSettings

WINDOW = "exploration"
"""The part of a ledger window's name that marks exploration's money."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """A draw, and everything needed to repeat it.

    Attributes:
        propensities: candidate -> probability, of every candidate that could have been drawn; they sum to 1.
        uniform: the number in [0, 1) that decided the draw.
        candidate: the drawn candidate.
        best: the candidate that would have served otherwise.
    """

    propensities: tuple[tuple[str, float], ...]
    uniform: float
    candidate: str
    best: str

    @property
    def explores(self) -> bool:
        """True if another candidate than the best was drawn: its cost then also counts in exploration's own window."""
        return self.candidate != self.best


def window_key(tenant: str, period_key: str) -> str:
    """Return the name of the exploration window that belongs to a tenant's own window (`day/2026-01-05T00:00`)."""
    return f"{tenant}/{WINDOW}/{period_key}"


def exploration_windows(windows: Iterable[Window], budget_share: float) -> tuple[Window, ...]:
    """Return the exploration window of each hard window of money, whose limit is a share of that window's limit."""
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
    """Draw which candidate serves. The drawn choice moves to the front, the others keep their order behind it.

    `allowance` is what is left in exploration's window, in nanodollars: a choice with a higher ceiling is not safe.
    `uniform` lies in [0, 1). The second result is None if there was nothing to draw: no forecasts, or no safe choice
    besides the best. The propensity is that of the first choice; if a later choice serves, its outcome must not be
    weighted by this propensity.
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
    """Return the places of the choices that may be drawn, including the best (the first).

    All choices are already within the request's cap. A choice is safe if its forecast quality is within `slack` of the
    best's, and its ceiling fits `allowance`.
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
    """Return probabilities for K >= 1 scores, the best first: 1 / (mu + gamma * gap), and for the best the rest.

    mu = max(K, (K - 1) / rate) keeps all others together at `rate` or less; rate > 0. They sum to 1, and each is > 0.
    """
    others = len(scores) - 1
    least = max(len(scores), others / rate)
    weights = [1 / (least + gamma * max(scores[0] - score, 0.0)) for score in scores[1:]]
    return [1 - math.fsum(weights), *weights]


def draw(propensities: Sequence[float], uniform: float) -> int:
    """Return the place that a uniform number in [0, 1) draws; deterministic. Raises ValueError for a number outside [0,
    1).
    """
    if not 0 <= uniform < 1:
        raise ValueError(f"{uniform} does not lie in [0, 1)")
    reached = 0.0
    for place, propensity in enumerate(propensities):
        reached += propensity
        if uniform < reached:
            return place
    return max(place for place, propensity in enumerate(propensities) if propensity > 0)  # only rounding leads here
