"""Full-information tables seen through a logging policy: one outcome a query, weighted by its propensity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from routers.base import Floats
from routers.table.outcome_table import OutcomeTable


def logged(table: OutcomeTable, propensities: Floats, seed: int, *, labelled: float = 1.0) -> OutcomeTable:
    """Draw one candidate a query with [n, K] probabilities, and keep a share of the labels; weights say both."""
    random = np.random.default_rng(seed)
    rows = np.arange(len(table))
    chosen = (random.random(len(table))[:, None] > np.cumsum(propensities, axis=1)).sum(axis=1)
    kept = np.zeros(table.score.shape, dtype=np.bool_)
    kept[rows, chosen] = random.random(len(table)) < labelled
    hidden = {name: np.where(kept, values, np.nan) for name, values in table.numbers()}
    weight = np.where(kept, 1 / (propensities * labelled), np.nan)
    return replace(table, **hidden, weight=weight, source=np.where(kept, "feedback", ""))
