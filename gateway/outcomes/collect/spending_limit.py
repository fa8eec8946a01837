"""What may be spent, is held, and was spent: nanodollars, and never more than there is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SpendingLimit:
    """One run's money. `spent` is what was billed; `uncertain` bounds what may have been, where the bill was lost."""

    limit: int
    spent: int = 0
    uncertain: int = 0
    held: int = 0

    @property
    def left(self) -> int:
        return self.limit - self.spent - self.uncertain - self.held

    def hold(self, max_cost: int) -> bool:
        """Set aside what one call may cost; False, and nothing is, where that is not there."""
        if max_cost > self.left:
            return False
        self.held += max_cost
        return True

    def settle(self, max_cost: int, charge: int) -> None:
        """A held call was billed."""
        self.held -= max_cost
        self.spent += charge

    def lose(self, max_cost: int) -> None:
        """A held call's bill is not known: all of it counts as gone."""
        self.held -= max_cost
        self.uncertain += max_cost
