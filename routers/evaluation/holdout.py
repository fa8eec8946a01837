"""The choice of held-out queries for judging a retrained router: the newest, and none that the router in service saw.

Rule: a group is never split between the two sides. Traffic drifts, so the latest queries are most like the next ones.
Queries without a time (of an offline table) are held out by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from routers.base import Floats
from routers.table.outcome_table import Mask
from routers.table.split import Rows


@dataclass(frozen=True, slots=True, eq=False)
class Holdout:
    """The ascending row numbers of the two sides.

    Attributes:
        timed: the number of test rows that were held out because they are the newest.
        leaked: the number of test rows that the router in service has learned from: its figures are too good there.
    """

    train: Rows
    test: Rows
    timed: int
    leaked: int

    @property
    def said(self) -> str:
        """One line that says how the rows were chosen."""
        by_chance = len(self.test) - self.timed
        parts = [f"{count} {how}" for count, how in ((self.timed, "the newest"), (by_chance, "by chance")) if count]
        leak = f"; the router in service learned from {self.leaked} of them" if self.leaked else ""
        return f"{len(self.test)} queries held out ({', '.join(parts)}), {len(self.train)} to learn from{leak}"


def hold_out(groups: tuple[str, ...], times: Floats, seen: Mask, *, share: float, seed: int) -> Holdout:
    """Hold out `share` of the groups that have a time, and `share` of the groups without a time.

    `times` is [n], NaN where unknown. No group of a `seen` row is held out, unless every group has one. Raises
    ValueError where a side would be empty.
    """
    names, group_of_row = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    newest = np.full(len(names), -np.inf)
    np.maximum.at(newest, group_of_row, np.where(np.isnan(times), -np.inf, times))
    is_known = np.bincount(group_of_row, weights=seen, minlength=len(names)) > 0
    if is_known.all():
        is_known[:] = False
    fresh = np.flatnonzero(~is_known)
    timed, untimed = fresh[np.isfinite(newest[fresh])], fresh[~np.isfinite(newest[fresh])]
    late = timed[np.argsort(newest[timed], kind="stable")][len(timed) - _count(share, len(timed)) :]
    drawn = np.random.default_rng(seed).permutation(untimed)[: _count(share, len(untimed))]
    is_test = np.zeros(len(names), dtype=np.bool_)
    is_test[np.concatenate([late, drawn])] = True
    test, train = np.flatnonzero(is_test[group_of_row]), np.flatnonzero(~is_test[group_of_row])
    if not len(test) or not (len(train) or share >= 1):
        raise ValueError(f"{len(names)} group(s) of queries, {len(fresh)} of them new: too few to hold some out")
    is_late = np.isin(group_of_row[test], late)
    return Holdout(train=train, test=test, timed=int(is_late.sum()), leaked=int(seen[test].sum()))


def _count(share: float, groups: int) -> int:
    return min(max(round(share * groups), 1), groups) if groups else 0
