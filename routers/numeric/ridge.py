"""Ridge fits on fused views along a path of penalties, of which grouped cross-validation chooses one.

Each target is fitted by factor regression (`routers.numeric.factors`) from its observed cells. Everything that is used
to forecast a held-out group, including the fusion's statistics, is learned without that group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.features.fusion import Fusion, FusionOptions
from routers.numeric.factors import candidate_factors, solve
from routers.numeric.masked_least_squares import LinearSystem
from routers.table.outcome_table import OutcomeTable, TableError
from routers.table.split import grouped_folds
from routers.table.weights import mean_square, rows_of_weights


@dataclass(frozen=True, slots=True)
class RidgeOptions:
    """Hyper-parameters; grouped cross-validation chooses one of the ridges."""

    fusion: FusionOptions = field(default_factory=FusionOptions)
    rank: int = 16
    ridges: tuple[float, ...] = (640.0, 320.0, 160.0, 80.0, 40.0, 20.0, 10.0, 5.0, 2.5, 1.25)
    folds: int = 5
    seed: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class RidgeFit:
    """The fit of one target.

    Attributes:
        linear: maps features to [n, K].
        ridge: the penalty that cross-validation chose.
        held_out: [n, K] forecasts of each row by a fit that did not see the row's group.
    """

    linear: LinearSystem
    ridge: float
    held_out: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Ridges:
    """The fits of all targets on one fusion; `features` [n, D] are those of the training rows."""

    fusion: Fusion
    features: Floats
    fits: tuple[RidgeFit, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A target to fit: values [n, K], NaN where missing, and the weights of cells (None: all count the same)."""

    values: Floats
    weights: Floats | None = None

    def rows(self, rows: NDArray[np.intp]) -> Target:
        """Return the target of these rows."""
        return Target(self.values[rows], rows_of_weights(self.weights, rows))

    def solve(self, features: Floats, rank: int, ridges: Sequence[float]) -> Iterator[LinearSystem]:
        """Yield the fit of each ridge, with the candidates' factors from these values."""
        return solve(features, self.values, candidate_factors(self.values, rank), ridges, self.weights)


def fit_ridges(groups: Sequence[str], views: Views, targets: Sequence[Target], options: RidgeOptions) -> Ridges:
    """Fit each target on the fused views of its rows."""
    held = _held_out(groups, views, targets, options)
    fusion = Fusion.fit(views, options.fusion)
    features = fusion.transform(views)
    fits = []
    for target, paths in zip(targets, held, strict=True):
        # Squared error is a proper score, so the fit that it chooses is as well calibrated as possible.
        best = int(np.argmin(mean_square(paths, target.values, target.weights)))
        ridge = options.ridges[best]
        linear = next(target.solve(features, options.rank, [ridge]))
        fits.append(RidgeFit(linear=linear, ridge=ridge, held_out=paths[best]))
    return Ridges(fusion=fusion, features=features, fits=tuple(fits))


def refuse_unteachable(table: OutcomeTable) -> None:
    """Raise TableError for a table with fewer than two observations of a candidate, or with only one group."""
    for name, values in (("score", table.score), ("output token count", table.output_tokens)):
        seen = (~np.isnan(values)).sum(axis=0)
        for candidate, count in zip(table.candidates, seen.tolist(), strict=True):
            if count < 2:
                raise TableError(f"candidate {candidate!r} has {count} observed {name}s; at least two are needed")
    if len(set(table.groups)) < 2:
        raise TableError("all queries are one group, so nothing can be held out to choose by")


def rows_of(views: Views, rows: NDArray[np.intp]) -> Views:
    """Return the views of these rows."""
    return {name: values[rows] for name, values in views.items()}


def _held_out(groups: Sequence[str], views: Views, targets: Sequence[Target], options: RidgeOptions) -> list[Floats]:
    """Return the out-of-fold forecasts [ridges, n, K] of each target."""
    held = [np.full((len(options.ridges), *target.values.shape), np.nan) for target in targets]
    for fold in grouped_folds(groups, options.folds, options.seed):
        known = rows_of(views, fold.train)
        fusion = Fusion.fit(known, options.fusion)
        features, hidden = fusion.transform(known), fusion.transform(rows_of(views, fold.test))
        for paths, target in zip(held, targets, strict=True):
            fits = target.rows(fold.train).solve(features, options.rank, options.ridges)
            for place, linear in enumerate(fits):
                paths[place, fold.test] = linear.apply(hidden)
    return held
