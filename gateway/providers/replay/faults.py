"""The faults that the pool can inject, and the random draws that decide when it does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateway.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Draw:
    """The faults of one request."""

    fails: bool = False
    breaks: bool = False
    hides_usage: bool = False


CALM = Draw()


@dataclass(frozen=True, slots=True)
class Faults:
    """Delays and faults of the pool.

    Attributes:
        latency_s: how long a reply takes; a stream spreads it over its chunks.
        first_byte_s: how long before the first byte of any answer, before `latency_s`.
        fail_rate: share of requests that are answered `fail_status` with an error body.
        break_rate: share of replies cut midway: the connection drops, with no terminating chunk or short of
            the announced length.
        no_usage_rate: share of replies without `usage`.
        only: candidates that delays and faults are limited to; empty means all.
    """

    latency_s: float = 0.0
    first_byte_s: float = 0.0
    fail_rate: float = 0.0
    fail_status: int = 500
    break_rate: float = 0.0
    no_usage_rate: float = 0.0
    only: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in ("fail_rate", "break_rate", "no_usage_rate"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be between 0 and 1")
        for name in ("latency_s", "first_byte_s"):
            if not getattr(self, name) >= 0.0:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must not be negative")
        if not 400 <= self.fail_status <= 599:
            raise ConfigError(f"fail_status is {self.fail_status}: it must be between 400 and 599")

    def concern(self, candidate: str) -> bool:
        """Return whether these faults apply to the candidate."""
        return not self.only or candidate in self.only

    def draw(self, generator: np.random.Generator) -> Draw:
        """Draw one request's faults. When no fault is possible nothing is drawn, so that a pool without faults stays
        fast.
        """
        if not (self.fail_rate or self.break_rate or self.no_usage_rate):
            return CALM
        return Draw(
            fails=bool(generator.random() < self.fail_rate),
            breaks=bool(generator.random() < self.break_rate),
            hides_usage=bool(generator.random() < self.no_usage_rate),
        )
