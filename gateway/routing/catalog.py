"""The candidates on offer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.billing.price import Price, cost
from gateway.billing.text_tokens import DEFAULT_TOKENIZER, Tokenizer

TYPICAL_INPUT_TOKENS = 1_000
TYPICAL_OUTPUT_TOKENS = 500

ImageTokens = Callable[[int, int, str], int]
"""(width, height, detail) -> input tokens."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model as one provider sells it.

    Attributes:
        name: what clients and reports call it.
        provider: the provider's name in the configuration.
        provider_model: what the provider calls it.
        forecast_as: the router's column that stands for it.
        context_tokens: input and output together.
        max_output_tokens: the provider's own limit for one reply.
        typical_output_tokens: (mean, 90% quantile) where no forecast is to be had.
        reasoning_tokens: (mean, 90% quantile) of what it thinks before a reply, beside what is forecast.
        tokenizer: how it cuts text.
        prices: where its price is from: a list and its version, or what was set.
    """

    name: str
    provider: str
    provider_model: str
    price: Price
    image_tokens: ImageTokens
    forecast_as: str
    context_tokens: int = 128_000
    max_output_tokens: int = 4_096
    sees_images: bool = True
    calls_tools: bool = True
    limit_parameter: str = "max_tokens"
    typical_output_tokens: tuple[int, int] = (256, 512)
    reasoning_tokens: tuple[int, int] = (0, 0)
    prices: str = ""
    tokenizer: Tokenizer = DEFAULT_TOKENIZER


class Catalog:
    """Candidates by name, in the operator's order."""

    def __init__(self, candidates: tuple[Candidate, ...]) -> None:
        self._by_name: Mapping[str, Candidate] = MappingProxyType({c.name: c for c in candidates})
        costs = [cost(c.price, TYPICAL_INPUT_TOKENS, TYPICAL_OUTPUT_TOKENS) for c in candidates]
        self.reference_cost = max(costs, default=0)
        """Nanodollars that the dearest candidate takes for a typical request: the unit that lambda weighs costs in."""
        self.typical_costs: Mapping[str, int] = {
            c.forecast_as: price for price, c in sorted(zip(costs, candidates, strict=True), key=_dearest_first)
        }
        """Nanodollars that a typical request takes, by the router's column: at the cheapest of those it stands for."""

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def get(self, name: str) -> Candidate | None:
        return self._by_name.get(name)


def _dearest_first(priced: tuple[int, Candidate]) -> int:
    return -priced[0]
