"""Caution: a candidate is forecast to beat the best single one only as far as held-out groups bear such claims out.

Which of thirteen others beats the best on a query is a maximum over noisy forecasts, so with little data it is mostly
the noise that is chosen (the winner's curse). Where claims to beat the incumbent were not borne out, a candidate is at
most a hair worse than the incumbent: it still takes over once its cost is weighed, in the same order, but where cost
does not count the incumbent answers. So the frontier ends at the best single candidate, not short of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from routers.base import Floats
from routers.table.outcome_table import OutcomeTable
from routers.table.split import numbered

_HAIR, _LEAST = 0.01, 1e-4
# Held-out gain in standard errors: up to the first nothing is believed, from the second on all.
_DOUBTED, _BELIEVED = 2.0, 3.0
_EDGE = 1e-3


@dataclass(frozen=True, slots=True)
class ShrinkageFit:
    """The candidate that one buys without routing, by its column; how far claims to beat it are believed, 0 to 1."""

    incumbent: int
    belief: float

    @classmethod
    def fit(cls, held_out: Floats, table: OutcomeTable, moved: Floats) -> ShrinkageFit:
        """From held-out forecasts [n, K]; `moved` [n, K] by how much the means that those know exceed the table's."""
        incumbent = _incumbent(table)
        claimed = np.where(np.isnan(table.score), -np.inf, held_out - moved).argmax(axis=1)
        rows = np.arange(len(table))
        gains = table.score - moved
        gained = np.nan_to_num(gains[rows, claimed] - gains[:, incumbent])
        of_groups = np.bincount(numbered(table.groups)[1], gained)
        error = max(float(np.sqrt((of_groups**2).sum())), 1e-12)
        return cls(incumbent, float(np.clip((of_groups.sum() / error - _DOUBTED) / (_BELIEVED - _DOUBTED), 0.0, 1.0)))

    def apply(self, quality: Floats) -> Floats:
        """[n, K]: of a claim, what is believed stays as it is, and the rest is folded under the incumbent."""
        best = quality[:, [self.incumbent]]
        claim = quality - best
        folded = -_HAIR * np.logaddexp(0.0, -claim / _HAIR) - _LEAST
        found = best + self.belief * claim + (1 - self.belief) * folded
        found[:, self.incumbent] = best[:, 0]
        return np.asarray(np.clip(found, _EDGE, 1 - _EDGE), dtype=np.float64)


def _incumbent(table: OutcomeTable) -> int:
    """The column of the best mean score; of those that it leads by less than a standard error, the dearest."""
    best = int(np.nanmean(table.score, axis=0).argmax())
    groups = numbered(table.groups)[1]
    close = np.zeros(len(table.candidates), dtype=np.bool_)
    for candidate, lead in enumerate((table.score[:, [best]] - table.score).T):
        seen = ~np.isnan(lead)
        mean = _mean(lead)
        of_groups = np.bincount(groups[seen], lead[seen] - mean)
        close[candidate] = mean * seen.sum() <= np.sqrt((of_groups**2).sum())
    costs = np.array([np.nan_to_num(_mean(column)) for column in table.cost_usd.T])
    return int(np.where(close, costs, -1.0).argmax()) if costs[best] > 0 else best


def _mean(column: Floats) -> float:
    seen = column[~np.isnan(column)]
    return float(seen.mean()) if len(seen) else float("nan")
