"""The interface of most router algorithms: a `Head` forecasts scores, and this module adds everything else.

The rest is calibration from held-out groups, the uncertainty of forecasts, output tokens, and reading and writing.
`HeadAlgorithm(SomeHead)` is an algorithm of the registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Forecast, Views
from routers.features.composed_map import ComposedMap
from routers.features.fusion import FusionOptions
from routers.forecasting.calibration import Calibration
from routers.forecasting.output_tokens import TokenHeads, log_tokens
from routers.forecasting.uncertainty import LEVERAGE_AXES, Leverage, leverage
from routers.numeric.ridge import RidgeOptions, Target, fit_ridges, refuse_unteachable, rows_of
from routers.table.outcome_table import OutcomeTable
from routers.table.split import grouped_folds

_HEAD = "head/"
_FOLDS = 5


class Head(Protocol):
    """The part of a router that differs between algorithms: the expected score per candidate, before calibration."""

    algorithm: ClassVar[str]

    @property
    def view_dims(self) -> Mapping[str, int]:
        """The views that the head reads -> their dimensions; at least one."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """The hyper-parameters, including those chosen in fitting; must be valid in JSON."""
        ...

    def quality(self, views: Views) -> Floats:
        """Return [n, K] expected scores, finite, of any range.

        Raises KeyError for a missing view, ValueError for a wrong dimension.
        """
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return every numeric part, by name."""
        ...

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> Self:
        """Learn from observed cells only; hyper-parameters are chosen inside, by grouped cross-validation."""
        ...

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]
    ) -> Self:
        """Return the head of the settings and arrays that it gave. Raises KeyError or ValueError if shapes disagree."""
        ...


@runtime_checkable
class HoldsOut(Protocol):
    """A head that computes held-out forecasts while it fits, which costs less than fitting it again for each fold."""

    @classmethod
    def fit_held_out(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> tuple[Head, Floats]:
        """Return the head, and [n, K] forecasts of each row by a fit that did not see the row's group."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class TokenAndUncertainty:
    """Forecasts besides quality: one composed product gives log tokens and the coordinates of the uncertainty."""

    composed: ComposedMap
    tokens: TokenHeads
    leverage: Leverage


@dataclass(frozen=True, slots=True, eq=False)
class HeadRouter:
    """A trained router around a head; implements `routers.registry.TrainedRouter`."""

    algorithm: str
    candidates: tuple[str, ...]
    head: Head
    calibration: Calibration
    beside: TokenAndUncertainty
    encoder_digest: str = ""
    digest: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.head.view_dims

    def forecast(self, views: Views) -> Forecast:
        outputs = self.beside.composed.apply(views).astype(np.float64)
        width = len(self.candidates)
        mean, high = self.beside.tokens.forecast(outputs[:, :width])
        return Forecast(
            quality=self.calibration.apply(self.head.quality(views)),
            quality_std=self.beside.leverage.std(outputs[:, width:]),
            output_tokens=mean,
            output_tokens_high=high,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every numeric part by name, as the artifact's `.npz` stores them."""
        stored: dict[str, NDArray[Any]] = {_HEAD + name: array for name, array in self.head.arrays().items()}
        stored |= self.beside.composed.arrays()
        for part in (self.calibration, self.beside.tokens, self.beside.leverage):
            stored |= {field.name: getattr(part, field.name) for field in fields(part)}
        return stored


@dataclass(frozen=True, slots=True)
class HeadAlgorithm:
    """The algorithm of a head's class; implements `routers.registry.Algorithm`."""

    head: type[Head]

    @property
    def algorithm(self) -> str:
        return self.head.algorithm

    def fit(self, table: OutcomeTable, views: Views, *, encoder_digest: str = "", seed: int = 0) -> HeadRouter:
        """Learn from a table and its queries' views. Raises TableError for a table that cannot teach."""
        refuse_unteachable(table)
        head, held_out = fit_head(self.head, table, views, seed)
        return HeadRouter(
            algorithm=self.algorithm,
            candidates=table.candidates,
            head=head,
            calibration=Calibration.fit(held_out, table.score),
            beside=_fit_beside(table, {name: views[name] for name in head.view_dims}, held_out, seed),
            encoder_digest=encoder_digest,
            settings=dict(head.settings),
        )

    def restore(self, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], digest: str) -> HeadRouter:
        """Return the router of an artifact's header and arrays. Raises KeyError or ValueError where they disagree."""
        candidates, dims, settings = tuple(header["candidates"]), header["view_dims"], header["hyper_parameters"]
        of_head = {name.removeprefix(_HEAD): array for name, array in arrays.items() if name.startswith(_HEAD)}
        width = len(candidates)
        head = self.head.restore(settings, of_head, dims)
        known = head.quality({name: np.zeros((0, dimension), dtype=np.float32) for name, dimension in dims.items()})
        if known.shape[1] != width:
            raise ValueError(f"the head knows {known.shape[1]} candidates, not {width}")
        return HeadRouter(
            algorithm=self.algorithm,
            candidates=candidates,
            head=head,
            calibration=Calibration.restore(arrays, width),
            beside=TokenAndUncertainty(
                composed=ComposedMap.restore(arrays, dims, width + LEVERAGE_AXES),
                tokens=TokenHeads.restore(arrays, width),
                leverage=Leverage.restore(arrays, width),
            ),
            encoder_digest=header["encoder"]["digest"],
            digest=digest,
            settings=settings,
        )


def fit_head(head: type[Head], table: OutcomeTable, views: Views, seed: int) -> tuple[Head, Floats]:
    """Return the fitted head and its held-out forecasts [n, K], by `fit_held_out` if it has that, else by fold fits."""
    if isinstance(head, HoldsOut):
        return head.fit_held_out(table, views, seed=seed)
    return head.fit(table, views, seed=seed), held_out_quality(head, table, views, seed)


def held_out_quality(head: type[Head], table: OutcomeTable, views: Views, seed: int) -> Floats:
    """Return [n, K] each row's raw forecast by a head that was fitted without the row's group."""
    held_out = np.full(table.score.shape, np.nan)
    for fold in grouped_folds(table.groups, _FOLDS, seed):
        fitted = head.fit(table.take(fold.train), rows_of(views, fold.train), seed=seed)
        held_out[fold.test] = fitted.quality(rows_of(views, fold.test))
    return held_out


def _fit_beside(table: OutcomeTable, views: Views, held_out: Floats, seed: int) -> TokenAndUncertainty:
    options = RidgeOptions(fusion=FusionOptions(views=tuple(views)), seed=seed)
    logs = log_tokens(table)
    targets = (Target(logs), Target(table.score, table.unequal_weights))
    ridges = fit_ridges(table.groups, views, targets, options)
    tokens, quality = ridges.fits
    residuals = table.score - np.clip(held_out, 0.0, 1.0)
    axes, spread = leverage(ridges.features, table.mask, residuals, quality.ridge)
    weights = np.concatenate([tokens.linear.weights, axes.weights], axis=1)
    return TokenAndUncertainty(
        composed=ridges.fusion.compose(weights, np.concatenate([tokens.linear.bias, axes.bias])),
        tokens=TokenHeads.fit(tokens.linear.apply(ridges.features), tokens.held_out, logs),
        leverage=spread,
    )
