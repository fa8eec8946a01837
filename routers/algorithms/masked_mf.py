"""Masked matrix factorisation that learns the candidates' factors; in LinearMF the factors are given.

Model: score[i, k] = bias[k] + latent(features[i]) . factors[k], over observed cells only. Alternating least squares
after Zhou et al., "Large-Scale Parallel Collaborative Filtering for the Netflix Prize" (AAIM 2008) fits the map into
the latent space with the factors fixed, then each candidate's factors with the map fixed. Factors start at a root of
the candidates' covariance (`routers.numeric.factors`) and a penalty pulls them to it: with few observations they stay
there. For candidates that share no query no covariance was observed; where the latent space is too narrow to keep such
candidates apart, their factors become similar if they are good at similar queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.features.pca import PcaMap, sized
from routers.numeric.factors import candidate_factors, solve
from routers.numeric.masked_least_squares import LinearSystem
from routers.table.outcome_table import OutcomeTable
from routers.table.split import grouped_folds
from routers.table.weights import mean_square, rows_of_weights


@dataclass(frozen=True, slots=True)
class MaskedMFOptions:
    """Hyper-parameters; grouped cross-validation chooses one ridge and one hold.

    Attributes:
        rank: the rank of the latent space; never more than there are candidates.
        components: the number of principal components of each view.
        ridges: penalties on the map, from strong to weak; each fit starts with the factors of the fit before it.
        holds: strengths of the penalty that pulls factors to their start, in numbers of observations.
        sweeps: the number of times that both steps are repeated for each ridge.
        folds: the folds of grouped cross-validation.
    """

    rank: int = 16
    components: int = 64
    ridges: tuple[float, ...] = (320.0, 80.0, 20.0, 5.0, 1.25)
    holds: tuple[float, ...] = (10.0, 100.0)
    sweeps: int = 1
    folds: int = 5


@dataclass(frozen=True, slots=True, eq=False)
class FactorModel:
    """The model score = bias + features @ latent @ factors.T; bias [K], latent [D, r], factors [K, r]."""

    bias: Floats
    latent: Floats
    factors: Floats

    def apply(self, features: Floats) -> Floats:
        """Return scores [n, K] of features [n, D]."""
        return self.bias + features @ self.latent @ self.factors.T


@dataclass(frozen=True, slots=True, eq=False)
class MaskedMF:
    """Implements `routers.forecasting.head.Head`."""

    algorithm: ClassVar[str] = "masked_mf"

    space: PcaMap
    factored: FactorModel
    settings: Mapping[str, Any]

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.space.view_dims

    def quality(self, views: Views) -> Floats:
        return self.factored.apply(self.space.rows(views))

    def arrays(self) -> dict[str, NDArray[Any]]:
        found = self.factored
        return {**self.space.arrays(), "bias": found.bias, "latent": found.latent, "factors": found.factors}

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]
    ) -> MaskedMF:
        space = PcaMap.restore(arrays, view_dims)
        width = sum(view.axes.shape[1] for view in space.views)
        candidates, rank = arrays["factors"].shape
        factored = FactorModel(
            bias=sized(arrays, "bias", (candidates,)),
            latent=sized(arrays, "latent", (width, rank)),
            factors=arrays["factors"],
        )
        return cls(space=space, factored=factored, settings=settings)

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> MaskedMF:
        return cls.fit_held_out(table, views, seed=seed)[0]

    @classmethod
    def fit_held_out(
        cls, table: OutcomeTable, views: Views, *, seed: int = 0, options: MaskedMFOptions | None = None
    ) -> tuple[MaskedMF, Floats]:
        """Return the head, and [n, K] forecasts of each row by a fit that did not see the row's group."""
        options, weights = options or MaskedMFOptions(), table.unequal_weights
        held_out = np.empty((len(options.holds), len(options.ridges), *table.score.shape))
        for fold in grouped_folds(table.groups, options.folds, seed):
            known = {name: rows[fold.train] for name, rows in views.items()}
            space = PcaMap.fit(known, components=options.components)
            features = space.rows(known)
            hidden = space.rows({name: rows[fold.test] for name, rows in views.items()})
            among = rows_of_weights(weights, fold.train)
            for place, hold in enumerate(options.holds):
                for step, found in enumerate(alternate(features, table.score[fold.train], hold, options, among)):
                    held_out[place, step, fold.test] = found.apply(hidden)
        errors = mean_square(held_out, table.score, weights)
        place, step = (int(number) for number in np.unravel_index(int(np.argmin(errors)), errors.shape))
        space = PcaMap.fit(views, components=options.components)
        shortened = replace(options, ridges=options.ridges[: step + 1])
        *_, found = alternate(space.rows(views), table.score, options.holds[place], shortened, weights)
        settings = asdict(options) | {"chosen_ridge": options.ridges[step], "chosen_hold": options.holds[place]}
        return cls(space=space, factored=found, settings=settings), held_out[place, step]


def alternate(
    features: Floats, score: Floats, hold: float, options: MaskedMFOptions, weights: Floats | None = None
) -> Iterator[FactorModel]:
    """Yield the factorisation of each ridge in turn.

    `features` are [n, D], `score` [n, K] with NaN where missing, `weights` [n, K] how much each cell counts (None: all
    observed cells count the same).
    """
    counted = (~np.isnan(score)).astype(np.float64) if weights is None else weights
    start = candidate_factors(score, min(options.rank, score.shape[1]))
    factors = start
    for ridge in options.ridges:
        for _ in range(options.sweeps):
            linear = next(solve(features, score, factors, [ridge], weights))
            factors = _refit_factors(features @ _latent_map(linear, factors), (score, counted), start, hold)
        linear = next(solve(features, score, factors, [ridge], weights))
        yield FactorModel(bias=linear.bias, latent=_latent_map(linear, factors), factors=factors)


def _latent_map(linear: LinearSystem, factors: Floats) -> Floats:
    """Return the [D, r] map whose product with the factors gives the system's weights."""
    return np.asarray(linear.weights @ factors @ np.linalg.pinv(factors.T @ factors), dtype=np.float64)


def _refit_factors(latents: Floats, cells: tuple[Floats, Floats], start: Floats, hold: float) -> Floats:
    """Return factors [K, r], scaled to mean variance 1.

    Each candidate's factors come from a ridge regression of its scores on the latents, which pulls them to `start`.
    """
    factors = start.copy()
    score, counted = cells
    # The hold is counted in observations, so it is scaled by the mean square of one observation's latents.
    weight = hold * max(float((latents**2).sum(axis=1).mean()) / latents.shape[1], 1e-12)
    for column in range(len(start)):
        seen = counted[:, column] > 0
        if not seen.any():
            continue
        share = counted[seen, column]
        centred = latents[seen] - np.average(latents[seen], axis=0, weights=share)
        rest = score[seen, column] - np.average(score[seen, column], weights=share) - centred @ start[column]
        weighed = centred * share[:, None]
        normal = weighed.T @ centred + weight * np.eye(latents.shape[1])
        factors[column] += np.linalg.solve(normal, weighed.T @ rest)
    scale = np.sqrt(len(factors) / max(float((factors**2).sum()), 1e-12))
    return np.asarray(factors * scale, dtype=np.float64)
