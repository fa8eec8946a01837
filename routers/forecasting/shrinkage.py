"""Shrinkage of claims to beat the best single candidate: believed only as far as held-out groups confirm such claims.

To find which of thirteen others beats the best on a query is to take a maximum over noisy forecasts, so with little
data mostly noise is chosen (the winner's curse). Where held-out groups did not confirm claims to beat the incumbent, a
candidate is forecast slightly below the incumbent at best. Such candidates keep their order and can still win when cost
counts, but where cost does not count, the incumbent answers. So the frontier ends at the best single candidate, and not
below it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from routers.base import Floats
from routers.table.outcome_table import OutcomeTable
from routers.table.split import numbered

_HAIR, _LEAST = 0.01, 1e-4
# Held-out gain in standard errors: up to the first number claims are not believed, from the second on fully.
_DOUBTED, _BELIEVED = 2.0, 3.0
_EDGE = 1e-3


@dataclass(frozen=True, slots=True)
class ShrinkageFit:
    """The shrinkage that held-out groups taught.

    Attributes:
        incumbent: the column of the candidate that one would use without routing.
        belief: how far claims to beat the incumbent are believed, 0 to 1.
    """

    incumbent: int
    belief: float

    @classmethod
    def fit(cls, held_out: Floats, table: OutcomeTable, moved: Floats) -> ShrinkageFit:
        """Learn from held-out forecasts [n, K].

        `moved` [n, K] are the means that the held-out forecasts were taught, minus the means of the whole table.
        """
        incumbent = _incumbent(table)
        claimed = np.where(np.isnan(table.score), -np.inf, held_out - moved).argmax(axis=1)
        rows = np.arange(len(table))
        gains = table.score - moved
        gained = np.nan_to_num(gains[rows, claimed] - gains[:, incumbent])
        of_groups = np.bincount(numbered(table.groups)[1], gained)
        error = max(float(np.sqrt((of_groups**2).sum())), 1e-12)
        return cls(incumbent, float(np.clip((of_groups.sum() / error - _DOUBTED) / (_BELIEVED - _DOUBTED), 0.0, 1.0)))

    def apply(self, quality: Floats) -> Floats:
        """Return forecasts [n, K] in which the part of each claim that is not believed is moved below the incumbent."""
        best = quality[:, [self.incumbent]]
        claim = quality - best
        folded = -_HAIR * np.logaddexp(0.0, -claim / _HAIR) - _LEAST
        found = best + self.belief * claim + (1 - self.belief) * folded
        found[:, self.incumbent] = best[:, 0]
        return np.asarray(np.clip(found, _EDGE, 1 - _EDGE), dtype=np.float64)


def _incumbent(table: OutcomeTable) -> int:
    """Return the incumbent's column: the best mean score.

    Among candidates that the best leads by less than a standard error, the most expensive is the incumbent.
    """
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
