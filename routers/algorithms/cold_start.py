"""Cold start: forecasts a candidate that a router has not learned from candidates of similar price, with wide spread.

A more expensive candidate is better more often than not, so the neighbours in price are the best first guess. The error
of this guess was measured by leaving out each candidate of DynaMath in turn: a root mean square of 0.14 in the
candidate's mean score (0.17 for the mean of all other candidates; 0.23 among the four candidates of BlindTest).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from routers.base import Floats, Forecast, Router, Views

DOUBT = 0.15
"""Standard deviation of quality as guessed from price, added to the uncertainty of the neighbours' own forecasts."""


@dataclass(frozen=True, slots=True, eq=False)
class ColdStartRouter:
    """A router with columns for new candidates after its own columns; implements `routers.base.Router`.

    Attributes:
        router: the router of the known candidates. Its digest is used for the whole, because the new columns follow
            from the router and the prices.
        newcomers: the names of the new candidates.
        shares: [K, newcomers] the weight of each known candidate's forecast in a newcomer's forecast; columns sum to 1.
    """

    router: Router
    newcomers: tuple[str, ...]
    shares: Floats

    @property
    def candidates(self) -> tuple[str, ...]:
        return (*self.router.candidates, *self.newcomers)

    @property
    def digest(self) -> str:
        return self.router.digest

    @property
    def encoder_digest(self) -> str:
        return self.router.encoder_digest

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.router.view_dims

    def forecast(self, views: Views) -> Forecast:
        known = self.router.forecast(views)
        quality = known.quality @ self.shares
        # The variance of a mixture: within the neighbours, between the neighbours, and of price as a guide (DOUBT).
        variance = (known.quality_std**2 + known.quality**2) @ self.shares - quality**2 + DOUBT**2
        return Forecast(
            quality=_beside(known.quality, quality),
            quality_std=_beside(known.quality_std, np.sqrt(np.clip(variance, 0.0, 1.0))),
            output_tokens=_beside(known.output_tokens, known.output_tokens @ self.shares),
            output_tokens_high=_beside(known.output_tokens_high, self._longest(known.output_tokens_high)),
        )

    def _longest(self, high: Floats) -> Floats:
        """Return the longest of the neighbours' quantiles, because a reply longer than expected must not pass a cap."""
        return np.stack([high[:, column > 0].max(axis=1) for column in self.shares.T], axis=1)

    def neighbours(self) -> dict[str, tuple[str, ...]]:
        """Return newcomer -> the candidates whose prices are next to the newcomer's."""
        return {
            name: tuple(self.router.candidates[place] for place in np.flatnonzero(column))
            for name, column in zip(self.newcomers, self.shares.T, strict=True)
        }


def widened(router: Router, prices: Mapping[str, float]) -> Router:
    """Return the router with a column added for every name of `prices` that it does not know.

    `prices` are those of a typical request, all in one unit. Returns the same router where it knows all of the names,
    or none of them to compare with.
    """
    known = [place for place, name in enumerate(router.candidates) if name in prices]
    newcomers = tuple(name for name in prices if name not in router.candidates)
    if not known or not newcomers:
        return router
    logs = _log_prices(prices)
    order = sorted(known, key=lambda place: logs[router.candidates[place]])
    ladder = np.array([logs[router.candidates[place]] for place in order])
    shares = np.zeros((len(router.candidates), len(newcomers)))
    for column, name in enumerate(newcomers):
        for step, share in _between(ladder, logs[name]):
            shares[order[step], column] = share
    return ColdStartRouter(router, newcomers, shares)


def _between(ladder: Floats, at: float) -> list[tuple[int, float]]:
    """Return (index, share) of the two steps around `at` in an ascending ladder, or of the one step at an end.

    Shares sum to 1.
    """
    above = int(np.searchsorted(ladder, at))
    if above == 0:
        return [(0, 1.0)]
    if above == len(ladder):
        return [(above - 1, 1.0)]
    share = float((at - ladder[above - 1]) / (ladder[above] - ladder[above - 1]))
    return [(step, part) for step, part in ((above - 1, 1 - share), (above, share)) if part > 0]


def _log_prices(prices: Mapping[str, float]) -> dict[str, float]:
    """Return the logarithms of prices; a price of 0 counts as a tenth of the least price above 0."""
    least = min((price for price in prices.values() if price > 0), default=1.0)
    return {name: float(np.log(max(price, least / 10))) for name, price in prices.items()}


def _beside(known: Floats, added: Floats) -> Floats:
    return np.concatenate([known, added], axis=1)
