"""Best single: the candidates' means and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from routers.algorithms.best_single import BestSingle
from tests.fakes.synthetic import drawn_table


def test_every_query_is_forecast_the_means_of_what_was_observed() -> None:
    table, views = drawn_table(missing=0.3)
    quality = BestSingle.fit(table, views).quality(views)
    np.testing.assert_allclose(quality, np.tile(np.nanmean(table.score, axis=0), (len(table), 1)))


def test_means_of_no_vector_are_refused() -> None:
    with pytest.raises(ValueError, match="the means are not a vector"):
        BestSingle.restore({}, {"means": np.zeros((2, 2))}, {"text": 4})
