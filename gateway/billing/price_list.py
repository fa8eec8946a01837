"""A candidate's price: what its configuration sets, and what is left out from the bundled list of `genai-prices`.

The list is the package's own data, read once at start; nothing is ever fetched. A price that neither sets is refused:
what a candidate costs is never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from importlib import import_module
from importlib.metadata import version
from typing import Any

from gateway.billing.money import NANODOLLARS, to_usd
from gateway.billing.price import Price, Tier
from gateway.errors import ConfigError

LIST = "genai-prices"
INPUT, OUTPUT, CACHED, WRITTEN = "input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok"
NOT_COUNTED = (
    "requests_kcount",
    "output_reasoning_mtok",
    "output_citation_mtok",
    "input_image_mtok",
    "input_mchars",
    "input_text_messages_kcount",
)
"""What a list price may charge for apart from tokens of input and output. (Web searches and audio are no part of what
is estimated at all.)"""


@dataclass(frozen=True, slots=True)
class PriceRequest:
    """What a configuration says of a candidate's price. Amounts in USD per million tokens.

    Attributes:
        candidate: its name, for messages.
        model: what its provider calls it.
        provider: the provider's name in the configuration; `base_url` is its address.
        price_as: `provider/model` of the list, where it is not the above.
    """

    candidate: str
    model: str
    provider: str
    base_url: str
    price_as: str | None = None
    input_usd: float | None = None
    output_usd: float | None = None
    cached_input_usd: float | None = None
    cache_write_usd: float | None = None


def price_of(asked: PriceRequest, now: datetime) -> tuple[Price, str]:
    """The price, and where it is from: `genai-prices 0.2.3 openai/gpt-4o`, `set 2.5/10`, or the list and what was set.

    Raises ConfigError, naming the candidate and what to do, for a price that is unknown or makes no sense.
    """
    try:
        if asked.input_usd is not None and asked.output_usd is not None:
            return _override(Price(0, 0), asked), f"set {_shown(asked)}"
        found, name = _listed(asked, now)
        where = f"{LIST} {version(LIST)} {name}"
        overridden = _override(found, asked)
    except (ValueError, LookupError) as error:
        what = f"candidate {asked.candidate}: {error}; set input_usd_per_mtok and output_usd_per_mtok"
        raise ConfigError(f"{what}, or price_as: provider/model as {LIST} has it") from None
    return (found, where) if overridden == found else (overridden, f"{where}, set {_shown(asked)}")


def _override(price: Price, asked: PriceRequest) -> Price:
    """What is set stands for every length of input; setting input and output leaves no tier of the list."""
    if asked.input_usd is not None and asked.output_usd is not None:
        price = Price(_per_million(asked.input_usd), _per_million(asked.output_usd))
    tiers = tuple(Tier(tier.above_input_tokens, _with_cache(tier.price, asked)) for tier in price.tiers)
    return replace(_with_cache(replace(price, tiers=()), asked), tiers=tiers)


def _with_cache(price: Price, asked: PriceRequest) -> Price:
    if asked.cached_input_usd is not None:
        price = replace(price, cached_input_per_million=_per_million(asked.cached_input_usd))
    if asked.cache_write_usd is not None:
        price = replace(price, cache_write_per_million=_per_million(asked.cache_write_usd))
    return price


def _listed(asked: PriceRequest, now: datetime) -> tuple[Price, str]:
    """The price of the list, and its name there. Raises LookupError or ValueError."""
    snapshot = import_module("genai_prices.data_snapshot").get_snapshot()  # takes 40 ms, and only some need it
    if asked.price_as is not None:
        provider_name, _, model_name = asked.price_as.partition("/")
        provider = snapshot.find_provider(None, provider_name, None)
    else:
        model_name = asked.model
        provider = _provider_at(snapshot, asked)
    model = provider.find_model(model_name, all_providers=snapshot.providers)
    if model is None:
        raise LookupError(f"{LIST} has no {model_name!r} of {provider.id}")
    prices = [_price(standing) for standing in _standing(model, now)]
    return max(
        prices, key=lambda price: (price.output_per_million, price.input_per_million)
    ), f"{provider.id}/{model.id}"


def _provider_at(snapshot: Any, asked: PriceRequest) -> Any:
    """By its address, which cannot be mistaken; else by the name that it was given."""
    try:
        return snapshot.find_provider(None, None, asked.base_url)
    except LookupError:
        try:
            return snapshot.find_provider(None, asked.provider, None)
        except LookupError:
            raise LookupError(
                f"{LIST} knows no provider at {asked.base_url}, and none called {asked.provider!r}"
            ) from None


def _standing(model: Any, now: datetime) -> list[Any]:
    """The prices that may stand today: the last that has begun, and those of other hours of the day.

    Of prices that change by the hour the dearest is taken, for ceilings must hold at any.
    """
    if not isinstance(model.prices, list):
        return [model.prices]
    hourly = [p for p in model.prices if type(p.constraint).__name__ == "TimeOfDateConstraint"]
    others = [p for p in model.prices if p not in hourly]
    begun = [p for p in others if p.constraint is None or p.constraint.active(now)] or others[:1]
    return [p.prices for p in (*begun[-1:], *hourly)]


def _price(listed: Any) -> Price:
    """One of the list's prices as ours. Raises ValueError for one that tokens do not settle."""
    amounts = {name: value for name, value in vars(listed).items() if value is not None}
    separate = [name for name in NOT_COUNTED if name in amounts]
    if separate:
        raise ValueError(f"{LIST} charges it for {', '.join(separate)} too, which Loupe does not count")
    if INPUT not in amounts or OUTPUT not in amounts:
        raise ValueError(f"{LIST} has no price of its input and output tokens")
    starts = sorted({tier.start for value in amounts.values() for tier in getattr(value, "tiers", ())})
    base = _flat(amounts, 0)
    tiers: list[Tier] = []
    for start in starts:
        price = _flat(amounts, start + 1)
        before = tiers[-1].price if tiers else base
        if price != before:
            tiers.append(Tier(start, price))
    return replace(base, tiers=tuple(tiers))


def _flat(amounts: dict[str, Any], input_tokens: int) -> Price:
    """The prices of an input of so many tokens."""

    def at(name: str) -> int | None:
        value = amounts.get(name)
        if value is None:
            return None
        tiers = getattr(value, "tiers", ())
        found = value.base if hasattr(value, "base") else value
        for tier in tiers:
            if input_tokens > tier.start:
                found = tier.price
        return _per_million(found)

    return Price(at(INPUT) or 0, at(OUTPUT) or 0, at(CACHED), at(WRITTEN))


def _per_million(usd: float | Decimal) -> int:
    return round(Decimal(str(usd)) * NANODOLLARS)


def _shown(asked: PriceRequest) -> str:
    """The amounts that were set, as `input/output`, then those of the cache by name."""
    parts = []
    if asked.input_usd is not None and asked.output_usd is not None:
        parts.append(f"{_plain(asked.input_usd)}/{_plain(asked.output_usd)}")
    if asked.cached_input_usd is not None:
        parts.append(f"cached {_plain(asked.cached_input_usd)}")
    if asked.cache_write_usd is not None:
        parts.append(f"written {_plain(asked.cache_write_usd)}")
    return " ".join(parts)


def _plain(usd: float) -> str:
    return to_usd(_per_million(usd))
