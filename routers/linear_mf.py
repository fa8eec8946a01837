"""LinearMF: a linear map into a latent space and candidate factors, with calibrated uncertainty.

Training is masked (observed cells only) and grouped: fusion statistics, ridge and spread come from out-of-fold
forecasts of whole groups. Forecasting is one composed float32 product, one for the products of views and one
for the uncertainty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Forecast, Views
from routers.compose import Composed
from routers.factors import candidate_factors, solve
from routers.fusion import Fusion, FusionOptions
from routers.masked import Linear
from routers.split import grouped_folds
from routers.spread import LEVERAGE_AXES, Leverage, leverage
from routers.table import OutcomeTable, TableError

# A forecast of a certain success or failure is a claim that no table of this size supports.
QUALITY_FLOOR = 0.02


@dataclass(frozen=True, slots=True)
class LinearMFOptions:
    """Hyper-parameters; those that are several are chosen among by grouped cross-validation."""

    fusion: FusionOptions = field(default_factory=FusionOptions)
    rank: int = 16
    ridges: tuple[float, ...] = (640.0, 320.0, 160.0, 80.0, 40.0, 20.0, 10.0, 5.0, 2.5, 1.25)
    folds: int = 5
    seed: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """What turns the composed outputs into forecasts; each [K].

    Attributes:
        quality_low, quality_high: the range of its fitted values in training: no query is forecast beyond it.
        token_log_low, token_log_high: the same of the logarithm of output tokens.
        token_mean: factor from the median to the mean (Duan's smearing).
        token_high: factor from the median to the 90% quantile, from out-of-fold residuals.
    """

    quality_low: Floats
    quality_high: Floats
    token_log_low: Floats
    token_log_high: Floats
    token_mean: Floats
    token_high: Floats


@dataclass(frozen=True, slots=True, eq=False)
class LinearMF:
    """A trained router; implements `routers.base.Router`."""

    algorithm: ClassVar[str] = "linear_mf"

    candidates: tuple[str, ...]
    composed: Composed
    heads: Heads
    leverage: Leverage
    encoder_digest: str = ""
    digest: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.composed.view_dims

    def forecast(self, views: Views) -> Forecast:
        width, heads = len(self.candidates), self.heads
        outputs = self.composed.apply(views).astype(np.float64)
        quality = np.minimum(np.maximum(outputs[:, :width], heads.quality_low), heads.quality_high)
        logs = np.minimum(np.maximum(outputs[:, width : 2 * width], heads.token_log_low), heads.token_log_high)
        median = np.exp(logs)
        return Forecast(
            quality=quality,
            quality_std=self.leverage.std(outputs[:, 2 * width :]),
            output_tokens=median * heads.token_mean,
            output_tokens_high=median * heads.token_high,
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything numeric, by name: what the artifact's `.npz` holds."""
        composed = self.composed
        stored: dict[str, NDArray[np.generic]] = {
            "matrix": composed.matrix,
            "offset": composed.offset,
            "product_map": composed.product_map,
            "means": composed.means,
            "crossed": np.array(composed.crossed, dtype=np.int64),
        }
        stored |= {part.name: getattr(self.heads, part.name) for part in fields(Heads)}
        return stored | {"leverage_root": self.leverage.root, "leverage_floor": self.leverage.floor}

    @classmethod
    def restore(cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], digest: str) -> LinearMF:
        """The router of an artifact's header and arrays. Raises KeyError or ValueError where they disagree."""
        candidates, dims = tuple(header["candidates"]), header["view_dims"]
        left, right = (int(width) for width in arrays["crossed"])
        outputs = 2 * len(candidates) + LEVERAGE_AXES
        shapes = {
            "matrix": (sum(dims.values()), outputs + left + right),
            "offset": (outputs + left + right,),
            "product_map": (left * right, outputs),
            "means": (sum(dims.values()),),
            "leverage_root": (LEVERAGE_AXES, len(candidates) * LEVERAGE_AXES),
            "leverage_floor": (len(candidates),),
        }
        shapes |= {part.name: (len(candidates),) for part in fields(Heads)}
        for name, shape in shapes.items():
            if arrays[name].shape != shape:
                raise ValueError(f"array {name!r} is {arrays[name].shape}, not {shape}")
        composed = Composed(
            views=tuple(dims),
            dims=tuple(dims.values()),
            matrix=arrays["matrix"],
            offset=arrays["offset"],
            product_map=arrays["product_map"],
            means=arrays["means"],
            crossed=(left, right),
        )
        return cls(
            candidates=candidates,
            composed=composed,
            heads=Heads(**{part.name: arrays[part.name] for part in fields(Heads)}),
            leverage=Leverage(root=arrays["leverage_root"], floor=arrays["leverage_floor"]),
            encoder_digest=header["encoder"]["digest"],
            digest=digest,
            settings=header["hyper_parameters"],
        )

    @classmethod
    def fit(
        cls,
        table: OutcomeTable,
        views: Views,
        *,
        encoder_digest: str = "",
        seed: int = 0,
        options: LinearMFOptions | None = None,
    ) -> LinearMF:
        """Learn from a table and its queries' views. Raises TableError for a table that cannot teach."""
        options = options or LinearMFOptions(seed=seed)
        _refuse_unteachable(table)
        log_tokens = np.log(np.maximum(table.output_tokens, 1.0))
        quality_held, token_held = _held_out(table, views, log_tokens, options)
        quality_ridge = _best(quality_held, table.score)
        token_ridge = _best(token_held, log_tokens)
        fusion = Fusion.fit(views, options.fusion)
        features = fusion.transform(views)
        quality = _fit_one(features, table.score, options, options.ridges[quality_ridge])
        tokens = _fit_one(features, log_tokens, options, options.ridges[token_ridge])
        axes, spread = leverage(
            features, table.mask, table.score - quality_held[quality_ridge], options.ridges[quality_ridge]
        )
        weights = np.concatenate([quality.weights, tokens.weights, axes.weights], axis=1)
        return cls(
            candidates=table.candidates,
            composed=fusion.compose(weights, np.concatenate([quality.bias, tokens.bias, axes.bias])),
            heads=_heads(
                (quality.apply(features), tokens.apply(features)),
                (table.mask, log_tokens),
                log_tokens - token_held[token_ridge],
            ),
            leverage=spread,
            encoder_digest=encoder_digest,
            settings=options.as_json()
            | {
                "chosen_ridge": options.ridges[quality_ridge],
                "chosen_token_ridge": options.ridges[token_ridge],
            },
        )


def _refuse_unteachable(table: OutcomeTable) -> None:
    for name, values in (("score", table.score), ("output token count", table.output_tokens)):
        seen = (~np.isnan(values)).sum(axis=0)
        for candidate, count in zip(table.candidates, seen.tolist(), strict=True):
            if count < 2:
                raise TableError(f"candidate {candidate!r} has {count} observed {name}s; two are the least")
    if len(set(table.groups)) < 2:
        raise TableError("all queries are one group, so nothing can be held out to choose by")


def _held_out(table: OutcomeTable, views: Views, log_tokens: Floats, options: LinearMFOptions) -> tuple[Floats, Floats]:
    """Out-of-fold forecasts [ridges, n, K] of quality and of log tokens."""
    shape = (len(options.ridges), *table.score.shape)
    quality, tokens = np.full(shape, np.nan), np.full(shape, np.nan)
    for fold in grouped_folds(table.groups, options.folds, options.seed):
        known = {name: rows[fold.train] for name, rows in views.items()}
        fusion = Fusion.fit(known, options.fusion)
        features = fusion.transform(known)
        hidden = fusion.transform({name: rows[fold.test] for name, rows in views.items()})
        for held, outcomes in ((quality, table.score), (tokens, log_tokens)):
            factors = candidate_factors(outcomes[fold.train], options.rank)
            fits = solve(features, outcomes[fold.train], factors, options.ridges)
            for place, linear in enumerate(fits):
                held[place, fold.test] = linear.apply(hidden)
    return quality, tokens


def _best(held_out: Floats, truth: Floats) -> int:
    """The ridge of the least squared error: a proper score, so what it picks is calibrated as far as it can be."""
    return int(np.argmin(np.nanmean((held_out - truth) ** 2, axis=(1, 2))))


def _fit_one(features: Floats, outcomes: Floats, options: LinearMFOptions, ridge: float) -> Linear:
    return next(solve(features, outcomes, candidate_factors(outcomes, options.rank), [ridge]))


def _heads(fitted: tuple[Floats, Floats], observed: tuple[NDArray[np.bool_], Floats], residuals: Floats) -> Heads:
    quality, logs = fitted
    mask, log_tokens = observed
    seen_quality = np.where(mask, quality, np.nan)
    seen_logs = np.where(np.isnan(log_tokens), np.nan, logs)
    return Heads(
        quality_low=np.clip(np.nanmin(seen_quality, axis=0), QUALITY_FLOOR, 1 - QUALITY_FLOOR),
        quality_high=np.clip(np.nanmax(seen_quality, axis=0), QUALITY_FLOOR, 1 - QUALITY_FLOOR),
        token_log_low=np.nanmin(seen_logs, axis=0),
        token_log_high=np.nanmax(seen_logs, axis=0),
        token_mean=np.nanmean(np.exp(residuals), axis=0),
        token_high=np.exp(np.nanquantile(residuals, 0.9, axis=0)),
    )
