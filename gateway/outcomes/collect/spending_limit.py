"""The limit of a run's spending: money that is left, held and spent, in nanodollars, never more than the limit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SpendingLimit:
    """The money of one run. `spent` is what was billed; `uncertain` is the most that lost replies may have cost."""

    limit: int
    spent: int = 0
    uncertain: int = 0
    held: int = 0

    @property
    def left(self) -> int:
        return self.limit - self.spent - self.uncertain - self.held

    def hold(self, max_cost: int) -> bool:
        """Set aside the largest cost of one call. Returns False, and sets nothing aside, if the money is not there."""
        if max_cost > self.left:
            return False
        self.held += max_cost
        return True

    def settle(self, max_cost: int, charge: int) -> None:
        """Note that a held call was billed."""
        self.held -= max_cost
        self.spent += charge

    def lose(self, max_cost: int) -> None:
        """Note that a held call's bill is unknown: all of it counts as spent."""
        self.held -= max_cost
        self.uncertain += max_cost
