"""How a tenant wants to explore and be paced, as its configuration says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ExplorationSettings:
    """How a tenant explores; it does not unless it has these.

    Attributes:
        rate: at most this share of requests takes another candidate than the best, 0 to 1.
        gamma: how fast probability falls with the gap in score; at 0 all of the safe set is drawn alike.
        slack: quality that a candidate may be forecast below the best and still be safe, 0 to 1.
        optimism: standard deviations of its forecast that a candidate is given on top before `slack` is asked for.
        budget_share: of the tenant's budget, what explored requests may cost: the limit of a ledger window of its own.
    """

    rate: float = 0.05
    gamma: float = 50.0
    slack: float = 0.1
    optimism: float = 0.0
    budget_share: float = 0.02

    def __post_init__(self) -> None:
        """Raises ValueError for numbers out of their range."""
        for name, most in (("rate", 1.0), ("slack", 1.0), ("budget_share", 1.0)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}, not within 0 to {most:g}")
        for name in ("gamma", "optimism"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}, not a finite number of 0 or more")


@dataclass(frozen=True, slots=True)
class TenantPacingSettings:
    """What a tenant may say about its pacing: `plan` and `burst` are `learns_shape` and `burst` of the settings."""

    plan: Literal["learned", "even"] = "learned"
    burst: float = 0.05


PACED = TenantPacingSettings()
"""How a tenant is paced that says nothing of it."""
