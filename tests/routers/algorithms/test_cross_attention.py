"""Text and image attending to each other: better than the means on groups it did not see."""

from __future__ import annotations

import numpy as np
import pytest

from routers.algorithms.neural import CrossAttention
from routers.evaluation.metrics import log_loss
from routers.table.split import grouped_splits
from tests.fakes.synthetic import drawn_table


@pytest.mark.slow
def test_held_out_forecast_is_better_than_the_means() -> None:
    table, views = drawn_table(groups=150, missing=0.1)
    (split,) = grouped_splits(table.groups, 0.6, [0])
    known, hidden = table.take(split.train), table.take(split.test)
    head = CrossAttention.fit(known, {name: rows[split.train] for name, rows in views.items()})
    quality = head.quality({name: rows[split.test] for name, rows in views.items()})
    means = np.tile(np.nanmean(known.score, axis=0), (len(hidden), 1))
    assert log_loss(quality, hidden.score) < 0.95 * log_loss(means, hidden.score)
