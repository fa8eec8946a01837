"""LinearMF: a linear map into a latent space and candidate factors, with calibrated uncertainty.

Training is masked (observed cells only) and grouped: fusion statistics, ridge and spread come from out-of-fold
forecasts of whole groups. A forecast takes three matrix products: one composed float32 product, one for the products
of views and one for the uncertainty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Forecast, Views
from routers.features.composed_map import ComposedMap
from routers.features.fusion import FusionOptions
from routers.features.pca import usual_views
from routers.forecasting.calibration import Calibration
from routers.forecasting.output_tokens import TokenHeads, log_tokens
from routers.forecasting.uncertainty import LEVERAGE_AXES, Leverage, leverage
from routers.numeric.ridge import RidgeOptions, Target, fit_ridges, refuse_unteachable
from routers.table.outcome_table import OutcomeTable


@dataclass(frozen=True, slots=True, eq=False)
class LinearMF:
    """A trained router; implements `routers.base.Router`.

    Example:
        >>> import numpy as np
        >>> from routers.algorithms.linear_mf import LinearMF
        >>> from routers.table.outcome_table import OutcomeTable
        >>> rows = range(24)
        >>> table = OutcomeTable(
        ...     query_ids=tuple(f"query {row}" for row in rows),
        ...     groups=tuple(f"group {row // 8}" for row in rows),
        ...     questions=tuple("chart" if row % 2 else "greeting" for row in rows),
        ...     image_paths=(None,) * 24,
        ...     candidates=("small", "large"),
        ...     score=np.array([[0.8, 0.9], [0.2, 0.9]] * 12),  # "small" fails on charts
        ...     output_tokens=np.full((24, 2), 80.0),
        ...     cost_usd=np.full((24, 2), [0.001, 0.01]),
        ... )
        >>> views = {
        ...     "text": np.array([[1, 0], [0, 1]] * 12, dtype=np.float32),
        ...     "image_features": np.zeros((24, 3), dtype=np.float32),  # zeros: no query has an image
        ... }
        >>> router = LinearMF.fit(table, views)
        >>> router.forecast(views).quality[:2].round(1).tolist()  # a greeting, then a chart
        [[0.8, 0.9], [0.2, 0.9]]
        >>> router.forecast(views).output_tokens[:2].round().tolist()
        [[80.0, 80.0], [80.0, 80.0]]
    """

    algorithm: ClassVar[str] = "linear_mf"

    candidates: tuple[str, ...]
    composed: ComposedMap
    limits: Calibration
    tokens: TokenHeads
    leverage: Leverage
    encoder_digest: str = ""
    digest: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.composed.view_dims

    def forecast(self, views: Views) -> Forecast:
        width = len(self.candidates)
        outputs = self.composed.apply(views).astype(np.float64)
        mean, high = self.tokens.forecast(outputs[:, width : 2 * width])
        return Forecast(
            quality=self.limits.apply(outputs[:, :width]),
            quality_std=self.leverage.std(outputs[:, 2 * width :]),
            output_tokens=mean,
            output_tokens_high=high,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every numeric part by name, as the artifact's `.npz` stores them."""
        stored = self.composed.arrays()
        for part in (self.limits, self.tokens, self.leverage):
            stored |= {column.name: getattr(part, column.name) for column in fields(part)}
        return stored

    @classmethod
    def restore(cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], digest: str) -> LinearMF:
        """Return the router of an artifact's header and arrays. Raises KeyError or ValueError where they disagree."""
        candidates = tuple(header["candidates"])
        width = len(candidates)
        return cls(
            candidates=candidates,
            composed=ComposedMap.restore(arrays, header["view_dims"], 2 * width + LEVERAGE_AXES),
            limits=Calibration.restore(arrays, width),
            tokens=TokenHeads.restore(arrays, width),
            leverage=Leverage.restore(arrays, width),
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
        options: RidgeOptions | None = None,
    ) -> LinearMF:
        """Learn from a table and its queries' views. Raises TableError for a table that cannot teach."""
        options = options or RidgeOptions(seed=seed)
        refuse_unteachable(table)
        logs = log_tokens(table)
        ridges = fit_ridges(table.groups, views, (Target(table.score, table.unequal_weights), Target(logs)), options)
        quality, tokens = ridges.fits
        axes, spread = leverage(ridges.features, table.mask, table.score - quality.held_out, quality.ridge)
        weights = np.concatenate([quality.linear.weights, tokens.linear.weights, axes.weights], axis=1)
        bias = np.concatenate([quality.linear.bias, tokens.linear.bias, axes.bias])
        return cls(
            candidates=table.candidates,
            composed=ridges.fusion.compose(weights, bias),
            limits=Calibration.fit(quality.linear.apply(ridges.features), table.score),
            tokens=TokenHeads.fit(tokens.linear.apply(ridges.features), tokens.held_out, logs),
            leverage=spread,
            encoder_digest=encoder_digest,
            settings=options.as_json() | {"chosen_ridge": quality.ridge, "chosen_token_ridge": tokens.ridge},
        )


@dataclass(frozen=True, slots=True, eq=False)
class FactorHead:
    """Factor regression as a head: the idea of `LinearMF`, without its forecasts of tokens and uncertainty.

    Implements `routers.forecasting.head.Head`. As a whole router, `LinearMF` is quicker.
    """

    algorithm: ClassVar[str] = "factor_head"

    composed: ComposedMap
    settings: Mapping[str, Any]

    @property
    def view_dims(self) -> Mapping[str, int]:
        return self.composed.view_dims

    def quality(self, views: Views) -> Floats:
        return self.composed.apply(views).astype(np.float64)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        return self.composed.arrays()

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> FactorHead:
        return cls.fit_held_out(table, views, seed=seed)[0]

    @classmethod
    def fit_held_out(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> tuple[FactorHead, Floats]:
        """Return the head, and [n, K] forecasts of each row by a fit that did not see the row's group."""
        options = RidgeOptions(fusion=FusionOptions(views=usual_views(views)), seed=seed)
        ridges = fit_ridges(table.groups, views, (Target(table.score, table.unequal_weights),), options)
        (quality,) = ridges.fits
        composed = ridges.fusion.compose(quality.linear.weights, quality.linear.bias)
        return cls(composed, {"rank": options.rank, "chosen_ridge": quality.ridge}), quality.held_out

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]
    ) -> FactorHead:
        left, right = (int(width) for width in arrays["crossed"])
        return cls(ComposedMap.restore(arrays, view_dims, len(arrays["offset"]) - left - right), settings)
