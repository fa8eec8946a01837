"""Ridge fits on fused views along a path of penalties; grouped cross-validation says which one holds.

Each target is fitted by factor regression (`routers.factors`) from its observed cells. Everything that is learned
for a held-out group, the fusion's statistics too, is learned without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views
from routers.factors import candidate_factors, solve
from routers.fusion import Fusion, FusionOptions
from routers.masked import Linear
from routers.split import grouped_folds
from routers.table import OutcomeTable, TableError


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

    linear: Linear
    ridge: float
    held_out: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Ridges:
    """All targets' fits on one fusion; `features` [n, D] are those of the training rows."""

    fusion: Fusion
    features: Floats
    fits: tuple[RidgeFit, ...]


def fit_ridges(groups: Sequence[str], views: Views, targets: Sequence[Floats], options: RidgeOptions) -> Ridges:
    """Fit each target [n, K] (NaN where missing) on the fused views of its rows."""
    held = _held_out(groups, views, targets, options)
    fusion = Fusion.fit(views, options.fusion)
    features = fusion.transform(views)
    fits = []
    for target, paths in zip(targets, held, strict=True):
        best = _best(paths, target)
        ridge = options.ridges[best]
        linear = next(solve(features, target, candidate_factors(target, options.rank), [ridge]))
        fits.append(RidgeFit(linear=linear, ridge=ridge, held_out=paths[best]))
    return Ridges(fusion=fusion, features=features, fits=tuple(fits))


def refuse_unteachable(table: OutcomeTable) -> None:
    """Raises TableError for a table without two observations a candidate, or of one group."""
    for name, values in (("score", table.score), ("output token count", table.output_tokens)):
        seen = (~np.isnan(values)).sum(axis=0)
        for candidate, count in zip(table.candidates, seen.tolist(), strict=True):
            if count < 2:
                raise TableError(f"candidate {candidate!r} has {count} observed {name}s; two are the least")
    if len(set(table.groups)) < 2:
        raise TableError("all queries are one group, so nothing can be held out to choose by")


def rows_of(views: Views, rows: NDArray[np.intp]) -> Views:
    """The views of these rows."""
    return {name: values[rows] for name, values in views.items()}


def _held_out(groups: Sequence[str], views: Views, targets: Sequence[Floats], options: RidgeOptions) -> list[Floats]:
    """Out-of-fold forecasts [ridges, n, K] of each target."""
    held = [np.full((len(options.ridges), *target.shape), np.nan) for target in targets]
    for fold in grouped_folds(groups, options.folds, options.seed):
        known = rows_of(views, fold.train)
        fusion = Fusion.fit(known, options.fusion)
        features, hidden = fusion.transform(known), fusion.transform(rows_of(views, fold.test))
        for paths, target in zip(held, targets, strict=True):
            factors = candidate_factors(target[fold.train], options.rank)
            for place, linear in enumerate(solve(features, target[fold.train], factors, options.ridges)):
                paths[place, fold.test] = linear.apply(hidden)
    return held


def _best(held_out: Floats, truth: Floats) -> int:
    """The ridge of the least squared error: a proper score, so what it picks is calibrated as far as it can be."""
    return int(np.argmin(np.nanmean((held_out - truth) ** 2, axis=(1, 2))))
