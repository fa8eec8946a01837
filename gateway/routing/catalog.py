"""The candidates on offer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.billing.price import Price, cost
from gateway.billing.text_tokens import DEFAULT_TOKENIZER, Tokenizer
from gateway.routing.capabilities import ASSUMED, IMAGES, NEEDS, TOOLS, Capabilities

TYPICAL_INPUT_TOKENS = 1_000
TYPICAL_OUTPUT_TOKENS = 500

ImageTokens = Callable[[int, int, str], int]
"""A formula: (width, height, detail) -> input tokens."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model as one provider sells it.

    Attributes:
        name: the name that clients and reports use.
        provider: the provider's name in the configuration.
        provider_model: the name that the provider uses.
        forecast_as: the router's column that forecasts the candidate.
        context_tokens: input and output together.
        max_output_tokens: the provider's own limit for one reply.
        typical_output_tokens: (mean, 90% quantile), used without a forecast.
        reasoning_tokens: (mean, 90% quantile) of the reasoning before a reply, in addition to the forecast.
        tokenizer: the tokenizer family, which gives the tokens of a text.
        capabilities: what it can do; `sees_images` and `calls_tools` may take away from that.
        page_tokens: the most tokens of a PDF's page whose text is of usual length: the text and a picture of the page.
        audio_tokens_per_second: the most tokens of a second of sound.
        limit_parameter: the member by which its output is limited; None for a provider that knows no such member, so
            that a reply may always take `max_output_tokens`.
        limits_itself: True if `max_output_tokens` was declared, and so need not be sent.
        caches_by_itself: True if its provider may write any input to its prompt cache, and charges for it.
        reports_usage: True if a stream may be asked for its usage.
        lacks: the bits of the needs that it cannot meet; `drops`: members of the body that it is not sent.
        prices: the source of its price: a list and its version, or the amounts that were set.
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
    limit_parameter: str | None = "max_tokens"
    typical_output_tokens: tuple[int, int] = (256, 512)
    reasoning_tokens: tuple[int, int] = (0, 0)
    prices: str = ""
    tokenizer: Tokenizer = DEFAULT_TOKENIZER
    capabilities: Capabilities = ASSUMED
    page_tokens: int = 6_000
    audio_tokens_per_second: int = 32
    limits_itself: bool = False
    reports_usage: bool = True
    caches_by_itself: bool = False
    lacks: int = field(init=False, repr=False, compare=False)
    drops: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lacks, drops = self.capabilities.lacks, self.capabilities.drops
        if not self.sees_images:
            lacks |= IMAGES
        if not self.calls_tools:
            lacks, drops = lacks | TOOLS, drops.union(NEEDS["tools"].members)
        object.__setattr__(self, "lacks", lacks)
        object.__setattr__(self, "drops", drops)


class Catalog:
    """The candidates by name, in the operator's order."""

    def __init__(self, candidates: tuple[Candidate, ...]) -> None:
        self._by_name: Mapping[str, Candidate] = MappingProxyType({c.name: c for c in candidates})
        costs = [cost(c.price, TYPICAL_INPUT_TOKENS, TYPICAL_OUTPUT_TOKENS) for c in candidates]
        self.reference_cost = max(costs, default=0)
        """Nanodollars that the dearest candidate costs for a typical request: the unit in which lambda weighs costs."""
        self.typical_costs: Mapping[str, int] = {
            c.forecast_as: price for price, c in sorted(zip(costs, candidates, strict=True), key=_dearest_first)
        }
        """Nanodollars of a typical request, by the router's column: the price of the cheapest
        candidate of that column.
        """

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
