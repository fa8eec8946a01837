"""A candidate's price: set by its configuration; what the configuration omits comes from the bundled list of
`genai-prices`.

The list is the package's own data, read once at start; nothing is ever fetched. A price that neither gives is an error:
Loupe never guesses what a candidate costs.
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
SOUND = "input_audio_mtok"
NOT_COUNTED = (
    "requests_kcount",
    "output_reasoning_mtok",
    "output_citation_mtok",
    "input_image_mtok",
    "input_mchars",
    "input_text_messages_kcount",
)
"""Things that a list price may charge for besides tokens of input and output, and that Loupe does not count. (Web
searches and audio are not part of any estimate.)
"""


@dataclass(frozen=True, slots=True)
class PriceRequest:
    """A candidate's price as its configuration gives it. Amounts in USD per million tokens.

    Attributes:
        candidate: the candidate's name, for messages.
        model: the name of the model at its provider.
        provider: the provider's name in the configuration; `base_url` is its address.
        price_as: `provider/model` of the list, if the list uses other names than `provider` and `model`.
        takes_audio: True if it is sent sound, which is charged as input: a list that asks more for sound does not do.
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
    takes_audio: bool = False


def price_of(asked: PriceRequest, now: datetime) -> tuple[Price, str]:
    """Return the price and its source: `genai-prices 0.2.3 openai/gpt-4o`, `set 2.5/10`, or the list and what was set.

    Raises ConfigError for an unknown or invalid price; its message names the candidate and what to do.
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
    """Return the price with the configured amounts in place. A configured amount applies to every length of input.

    Setting both input and output removes all tiers of the list.
    """
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
    """Return the price of the list, and its name there. Raises LookupError or ValueError."""
    snapshot = import_module(
        "genai_prices.data_snapshot"
    ).get_snapshot()  # the import takes 40 ms, and only some candidates need it
    if asked.price_as is not None:
        provider_name, _, model_name = asked.price_as.partition("/")
        provider = snapshot.find_provider(None, provider_name, None)
    else:
        model_name = asked.model
        provider = _provider_at(snapshot, asked)
    model = provider.find_model(model_name, all_providers=snapshot.providers)
    if model is None:
        raise LookupError(f"{LIST} has no {model_name!r} of {provider.id}")
    standing = _standing(model, now)
    sounds = [(getattr(each, SOUND, None), getattr(each, INPUT, None)) for each in standing]
    if asked.takes_audio and any(sound not in (None, text) for sound, text in sounds):
        raise ValueError(f"{LIST} has another price for sound ({SOUND}) than for text, and Loupe charges both alike")
    prices = [_price(each) for each in standing]
    return max(
        prices, key=lambda price: (price.output_per_million, price.input_per_million)
    ), f"{provider.id}/{model.id}"


def _provider_at(snapshot: Any, asked: PriceRequest) -> Any:
    """Find the list's provider by its address, which is unambiguous, else by its name in the configuration."""
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
    """Return the prices that may apply today: the last one that has begun, and the ones for other hours of the day.

    The caller takes the dearest of prices that change by the hour, because a ceiling must hold at any hour.
    """
    if not isinstance(model.prices, list):
        return [model.prices]
    hourly = [p for p in model.prices if type(p.constraint).__name__ == "TimeOfDateConstraint"]
    others = [p for p in model.prices if p not in hourly]
    begun = [p for p in others if p.constraint is None or p.constraint.active(now)] or others[:1]
    return [p.prices for p in (*begun[-1:], *hourly)]


def _price(listed: Any) -> Price:
    """Convert one of the list's prices to a `Price`. Raises ValueError for a price that tokens
    alone do not determine.
    """
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
    """Return the prices for an input of `input_tokens` tokens."""

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
    """Return the configured amounts as text: `input/output`, then the cache amounts by name."""
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
