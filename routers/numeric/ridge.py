"""Ridge fits on fused views along a path of penalties; grouped cross-validation says which one holds.

Each target is fitted by factor regression (`routers.numeric.factors`) from its observed cells. Everything that is
learned for a held-out group, the fusion's statistics too, is learned without it.
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
    """Hyper-parameters; those that are several are chosen among by grouped cross-validation."""

    fusion: FusionOptions = field(default_factory=FusionOptions)
    rank: int = 16
    ridges: tuple[float, ...] = (640.0, 320.0, 160.0, 80.0, 40.0, 20.0, 10.0, 5.0, 2.5, 1.25)
    folds: int = 5
    seed: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class RidgeFit:
    """One target's fit.

    Attributes:
        linear: features -> [n, K].
        ridge: the penalty that cross-validation chose.
        held_out: [n, K], each row forecast by a fit that did not see its group.
    """

    linear: LinearSystem
    ridge: float
    held_out: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Ridges:
    """All targets' fits on one fusion; `features` [n, D] are those of the training rows."""

    fusion: Fusion
    features: Floats
    fits: tuple[RidgeFit, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What is fitted: values [n, K], NaN where missing, and how much each cell counts (all alike: None)."""

    values: Floats
    weights: Floats | None = None

    def rows(self, rows: NDArray[np.intp]) -> Target:
        """That of these rows."""
        return Target(self.values[rows], rows_of_weights(self.weights, rows))

    def solve(self, features: Floats, rank: int, ridges: Sequence[float]) -> Iterator[LinearSystem]:
        """The fit of each ridge, with the candidates' factors from these values."""
        return solve(features, self.values, candidate_factors(self.values, rank), ridges, self.weights)


def fit_ridges(groups: Sequence[str], views: Views, targets: Sequence[Target], options: RidgeOptions) -> Ridges:
    """Fit each target on the fused views of its rows."""
    held = _held_out(groups, views, targets, options)
    fusion = Fusion.fit(views, options.fusion)
    features = fusion.transform(views)
    fits = []
    for target, paths in zip(targets, held, strict=True):
        # Squared error is a proper score, so what it picks is calibrated as far as it can be.
        best = int(np.argmin(mean_square(paths, target.values, target.weights)))
        ridge = options.ridges[best]
        linear = next(target.solve(features, options.rank, [ridge]))
        fits.append(RidgeFit(linear=linear, ridge=ridge, held_out=paths[best]))
    return Ridges(fusion=fusion, features=features, fits=tuple(fits))


def refuse_unteachable(table: OutcomeTable) -> None:
    """Raises TableError for a table without two observations a candidate, or of one group."""
    for name, values in (("score", table.score), ("output token count", table.output_tokens)):
        seen = (~np.isnan(values)).sum(axis=0)
        for candidate, count in zip(table.candidates, seen.tolist(), strict=True):
            if count < 2:
                raise TableError(f"candidate {candidate!r} has {count} observed {name}s; at least two are needed")
    if len(set(table.groups)) < 2:
        raise TableError("all queries are one group, so nothing can be held out to choose by")


def rows_of(views: Views, rows: NDArray[np.intp]) -> Views:
    """The views of these rows."""
    return {name: values[rows] for name, values in views.items()}


def _held_out(groups: Sequence[str], views: Views, targets: Sequence[Target], options: RidgeOptions) -> list[Floats]:
    """Out-of-fold forecasts [ridges, n, K] of each target."""
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
