"""The settings of a tenant's exploration and pacing, from the configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ExplorationSettings:
    """The settings of a tenant's exploration; a tenant without them does not explore.

    Attributes:
        rate: the largest share of requests that take another candidate than the best, 0 to 1.
        gamma: how fast probability falls with the gap in score; at 0 the whole safe set is equally likely.
        slack: how far a candidate's forecast quality may be below the best's and still be safe, 0 to 1.
        optimism: standard deviations of its forecast added to a candidate's quality before `slack` is applied.
        budget_share: share of the tenant's budget for explored requests: the limit of a separate ledger window.
    """

    rate: float = 0.05
    gamma: float = 50.0
    slack: float = 0.1
    optimism: float = 0.0
    budget_share: float = 0.02

    def __post_init__(self) -> None:
        """Raise ValueError for numbers out of range."""
        for name, most in (("rate", 1.0), ("slack", 1.0), ("budget_share", 1.0)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}, not within 0 to {most:g}")
        for name in ("gamma", "optimism"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}, not a finite number of 0 or more")


@dataclass(frozen=True, slots=True)
class TenantPacingSettings:
    """The pacing options of a tenant: `plan` and `burst` are `learns_shape` and `burst` of PacingSettings."""

    plan: Literal["learned", "even"] = "learned"
    burst: float = 0.05


PACED = TenantPacingSettings()
"""The pacing of a tenant that sets no option."""
