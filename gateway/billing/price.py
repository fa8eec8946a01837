"""The cost of tokens: the estimate, the ceiling and the bill all use the same functions."""

from __future__ import annotations

from dataclasses import dataclass

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """The list price of a candidate, in nanodollars per million tokens.

    Attributes:
        cached_input_per_million: price of input that the provider read from its prompt cache; None: as other input.
        cache_write_per_million: price of input that the provider wrote to its prompt cache, if it charges for
            writing; None: as other input.
        tiers: prices of long inputs, by rising threshold. Past a threshold all tokens cost the tier's price, not only
            the tokens beyond it (as at Anthropic, Google and OpenAI). No tier is cheaper than the tier before it,
            so that a bound on the input also bounds the cost.
    """

    input_per_million: int
    output_per_million: int
    cached_input_per_million: int | None = None
    cache_write_per_million: int | None = None
    tiers: tuple[Tier, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for prices with which a request could cost more than its ceiling."""
        if (self.cached_input_per_million or 0) > self.input_per_million:
            raise ValueError("cached input is dearer than input")
        before: Price = self
        threshold = -1
        for tier in self.tiers:
            after = tier.price
            if tier.above_input_tokens <= threshold or after.tiers:
                raise ValueError("the thresholds of the tiers do not rise")
            if after.input_per_million < before.input_per_million or after.written < before.written:
                raise ValueError("a tier of longer inputs is cheaper than the one before")
            if after.output_per_million < before.output_per_million:
                raise ValueError("a tier of longer inputs has cheaper output than the one before")
            before, threshold = after, tier.above_input_tokens

    @property
    def is_free(self) -> bool:
        return not self.dearest.input_per_million and not self.dearest.output_per_million and not self.dearest.written

    @property
    def dearest(self) -> Price:
        """The price of the longest inputs."""
        return self.tiers[-1].price if self.tiers else self

    @property
    def written(self) -> int:
        """The most that an input token can cost, whether it is written to the cache or not."""
        return max(self.input_per_million, self.cache_write_per_million or 0)

    @property
    def charges_for_writing(self) -> bool:
        """True if input that is written to the cache costs more than other input, at any length."""
        return any(price.written > price.input_per_million for price in (self, *(tier.price for tier in self.tiers)))

    def at(self, input_tokens: int) -> Price:
        """Return the price for an input of this length."""
        for tier in reversed(self.tiers):
            if input_tokens > tier.above_input_tokens:
                return tier.price
        return self


@dataclass(frozen=True, slots=True)
class Tier:
    """The price for inputs of more than `above_input_tokens` tokens."""

    above_input_tokens: int
    price: Price


def cost(price: Price, input_tokens: int, output_tokens: int) -> int:
    """Return the nanodollars for these tokens, none of them cached; rounded up once."""
    if price.tiers:
        price = price.at(input_tokens)
    return -(-(price.input_per_million * input_tokens + price.output_per_million * output_tokens) // MILLION)


def cost_at_most(price: Price, input_tokens: int, output_tokens: int) -> int:
    """Return `cost` for an input that may be written to the provider's cache: no split of the input costs more."""
    if price.tiers:
        price = price.at(input_tokens)
    return -(-(price.written * input_tokens + price.output_per_million * output_tokens) // MILLION)


def cost_with_cache(
    price: Price, input_tokens: int, output_tokens: int, *, cached_tokens: int, written_tokens: int
) -> int:
    """Return the nanodollars for these tokens; `cached_tokens` and `written_tokens` are disjoint parts of the input.

    If a provider reports a part larger than the whole, the part is cut to the whole.
    """
    if price.tiers:
        price = price.at(input_tokens)
    cached_tokens = min(cached_tokens, input_tokens)
    written_tokens = min(written_tokens, input_tokens - cached_tokens)
    plain, cached = price.input_per_million, price.cached_input_per_million
    written = price.cache_write_per_million
    total = plain * (input_tokens - cached_tokens - written_tokens) + price.output_per_million * output_tokens
    total += (plain if cached is None else cached) * cached_tokens
    total += (plain if written is None else written) * written_tokens
    return -(-total // MILLION)


def affordable_output_tokens(price: Price, input_tokens: int, cap: int, *, may_write: bool = False) -> int | None:
    """Return the most output tokens that keep the cost within `cap` nanodollars; `may_write` is as in `cost_at_most`.

    Returns None when output is free and the input fits (the cap sets no limit); -1 when the input alone exceeds the
    cap.
    """
    if price.tiers:
        price = price.at(input_tokens)
    left = cap * MILLION - (price.written if may_write else price.input_per_million) * input_tokens
    if left < 0:
        return -1
    if price.output_per_million == 0:
        return None
    return left // price.output_per_million
