"""Forecasts of output tokens, their mean and their 90% quantile, from forecast logarithms; the same for all heads.

Routers regress the logarithm of a reply's length. Duan's smearing ("Smearing Estimate: A Nonparametric Retransformation
Method", JASA 1983) turns the median into a mean, and the quantile of the held-out residuals gives the length that nine
of ten replies do not exceed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats
from routers.forecasting.calibration import column_array
from routers.table.outcome_table import OutcomeTable

HIGH = 0.9
"""The quantile of output tokens that is forecast besides the mean."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenHeads:
    """The numbers that turn forecast logarithms into token counts; each array is [K].

    Attributes:
        token_log_low, token_log_high: the range of fitted values in training; no forecast is outside it.
        token_mean: the factor from the median to the mean (smearing).
        token_high: the factor from the median to the 90% quantile, from held-out residuals.
    """

    token_log_low: Floats
    token_log_high: Floats
    token_mean: Floats
    token_high: Floats

    @classmethod
    def fit(cls, fitted: Floats, held_out: Floats, log_tokens: Floats) -> TokenHeads:
        """Learn from fitted and held-out forecasts [n, K] of `log_tokens` [n, K], NaN where missing."""
        seen = np.where(np.isnan(log_tokens), np.nan, fitted)
        residuals = log_tokens - held_out
        return cls(
            token_log_low=np.nanmin(seen, axis=0),
            token_log_high=np.nanmax(seen, axis=0),
            token_mean=np.nanmean(np.exp(residuals), axis=0),
            token_high=np.exp(np.nanquantile(residuals, HIGH, axis=0)),
        )

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], candidates: int) -> TokenHeads:
        """Restore from arrays named as the attributes. Raises KeyError or ValueError where shapes disagree."""
        return cls(**{part.name: column_array(arrays, part.name, candidates) for part in fields(cls)})

    def forecast(self, logs: Floats) -> tuple[Floats, Floats]:
        """Return the mean and the 90% quantile, [n, K] each, from forecast logarithms [n, K]."""
        median = np.exp(np.minimum(np.maximum(logs, self.token_log_low), self.token_log_high))
        return median * self.token_mean, median * self.token_high


def log_tokens(table: OutcomeTable) -> Floats:
    """Return [n, K] logarithms of output tokens, NaN where not observed; a reply without tokens counts as one token."""
    return np.log(np.maximum(table.output_tokens, 1.0))
