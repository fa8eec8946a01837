"""The interface of a router: views of queries in, forecasts per candidate out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Views = Mapping[str, NDArray[np.float32]]
"""View name (`text`, `image`, `image_features`) -> [n, dimension]. A query without images has zero image rows."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Forecasts for n queries and K candidates; every array is [n, K], float64.

    Attributes:
        quality: expected score, 0 to 1.
        quality_std: the uncertainty of `quality` (one standard deviation of the estimate), 0 to 1.
        output_tokens: expected output tokens.
        output_tokens_high: the 90% quantile of output tokens.
    """

    quality: Floats
    quality_std: Floats
    output_tokens: Floats
    output_tokens_high: Floats


class Router(Protocol):
    """A trained router, ready to forecast.

    Attributes:
        candidates: the K names, in the order of every forecast's columns.
        digest: sha256 over the artifact; every outcome records it.
        encoder_digest: the digest of the encoder that the views must come from.
        view_dims: the views that the router needs -> their dimensions; other views are ignored.
    """

    @property
    def candidates(self) -> tuple[str, ...]: ...
    @property
    def digest(self) -> str: ...
    @property
    def encoder_digest(self) -> str: ...
    @property
    def view_dims(self) -> Mapping[str, int]: ...

    def forecast(self, views: Views) -> Forecast:
        """Forecast n queries. Raises KeyError for a missing view and ValueError for a wrong dimension."""
        ...
