"""What tokens cost: one function, used for the estimate, the ceiling and the bill alike."""

from __future__ import annotations

from dataclasses import dataclass

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """List price of a candidate, in nanodollars per million tokens."""

    input_per_million: int
    output_per_million: int

    @property
    def is_free(self) -> bool:
        return self.input_per_million == 0 and self.output_per_million == 0


def cost(price: Price, input_tokens: int, output_tokens: int) -> int:
    """Nanodollars for these tokens, rounded once, up."""
    total = price.input_per_million * input_tokens + price.output_per_million * output_tokens
    return -(-total // MILLION)


def affordable_output_tokens(price: Price, input_tokens: int, cap: int) -> int | None:
    """Most output tokens that keep the cost within `cap` nanodollars.

    None when output is free and the input fits (no limit follows from the cap); -1 when the input alone is over.
    """
    left = cap * MILLION - price.input_per_million * input_tokens
    if left < 0:
        return -1
    if price.output_per_million == 0:
        return None
    return left // price.output_per_million
